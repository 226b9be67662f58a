"""Where wengert differs from torch on purpose, or in a way that is known: pattern of the difference, and why.

``OPS``: found by torch's sample inputs, by op. ``REFUSED``: wengert takes what torch refuses.
``GENERATED``: found by the generated inputs, by function.
"""

from __future__ import annotations

TIES = (r"result \d: value \d+ for \d+ at", "which of equal elements is named is left open by torch")
INTEGERS = (r"raises DTypeError: \w+: needs (a )?floating (dtype|tensors?): .*(i64|b1)\[",
            "losses, distances and averages of integers are refused, with the cure, not cut to integers")  # fmt: skip
COMPLEX = (r"raises DTypeError: \w+: needs (a )?floating tensors?: .*c128\[", "not yet for complex numbers")
HERMITIAN = (
    r"result 0: value",
    "the Hermitian part is decomposed; torch reads one triangle of a matrix that is not Hermitian",
)
ZERO_D = (r"raises ShapeError: \w+: the input must have the shape \(C\)", "0-d input is refused, as torch documents it")
WEIGHTS = (r"raises DTypeError: \w+: beta and alpha must be integers", "torch cuts 0.6 to 0 silently")
OVERWRITTEN = (
    r"gradient 0: value -?0\.0 for",
    "an element that another overwrote has gradient 0 (difference quotient agrees)",
)
FULL_SQUARE = (r"gradient \d: value", "no gradient in the triangle that is not read (difference quotient agrees)")

OPS: dict[str, list[tuple[str, str]]] = {
    "addbmm": [WEIGHTS],
    "addmv": [WEIGHTS],
    "argsort": [TIES],
    "baddbmm": [WEIGHTS],
    "cholesky": [
        (r"gradient 0: value", "the gradient is Hermitian; torch's has an imaginary diagonal, which changes nothing")
    ],
    "cholesky_inverse": [FULL_SQUARE],
    "cholesky_solve": [FULL_SQUARE],
    "cov": [(r"(result 0|gradient 1): value", "torch sums float32 weights in float32 beside float64 samples")],
    "histc": [(r"result 0: value [\d.]+ for [\d.]+ at", "bin edges in bfloat16 are rounded once, from float32")],
    "kthvalue": [TIES],
    "linalg.cholesky": [(r"gradient 0: value", "as cholesky")],
    "linalg.eigh": [HERMITIAN],
    "linalg.eigvalsh": [HERMITIAN],
    "linalg.lstsq": [
        (r"gradient 0: value", "gradients flow through the singular values too (difference quotient agrees)")
    ],
    "linalg.pinv.hermitian": [HERMITIAN],
    "logcumsumexp": [(r"raises DTypeError: logcumsumexp: complex", "not yet for complex numbers")],
    "mode": [TIES],
    "nn.functional.avg_pool1d": [INTEGERS],
    "nn.functional.avg_pool2d": [INTEGERS],
    "nn.functional.avg_pool3d": [INTEGERS],
    "nn.functional.batch_norm": [
        (r"raises ShapeError: .*needs at least 2 dimensions", "torch takes an empty vector only")
    ],
    "nn.functional.cosine_embedding_loss": [INTEGERS],
    "nn.functional.ctc_loss": [
        (r"gradient 0: value", "the gradient for any log_probs, not only normalised ones (difference quotient agrees)")
    ],
    "nn.functional.l1_loss": [COMPLEX],
    "nn.functional.local_response_norm": [INTEGERS],
    "nn.functional.margin_ranking_loss": [INTEGERS],
    "nn.functional.max_unpool1d": [OVERWRITTEN],
    "nn.functional.max_unpool2d": [OVERWRITTEN],
    "nn.functional.max_unpool3d": [OVERWRITTEN],
    "nn.functional.multi_head_attention_forward": [
        (r"result 0: value", "bfloat16 is rounded after each step here, and at other places in torch")
    ],
    "nn.functional.multi_margin_loss": [ZERO_D],
    "nn.functional.multilabel_margin_loss": [ZERO_D],
    "nn.functional.pairwise_distance": [INTEGERS, COMPLEX],
    "nn.functional.poisson_nll_loss": [INTEGERS],
    "nn.functional.rms_norm": [COMPLEX],
    "nn.functional.triplet_margin_loss": [INTEGERS, COMPLEX],
    "nn.functional.triplet_margin_with_distance_loss": [INTEGERS, COMPLEX],
    "sort": [TIES],
    "topk": [TIES],
}

# What torch says when it refuses a call that wengert takes.
REFUSED: list[tuple[str, str]] = [
    (r"must be (a )?Tensor|invalid combination of arguments|doesn't apply to a 'int'|'int' object has no attribute",
     "numbers and tensors may stand for each other where that means something"),
    (r"must be (float|Number|int|bool)|must be tuple of|should be of type ints|shape' to be int",
     "a 0-d tensor counts as a number, a vector as a tuple of ints"),
    (r"not implemented for|does not support|not supported|Unsupported input type|is not supported|supports floating"
     r"|expects float32 or float64|Expected a floating point|should be either floating",
     "a dtype that torch's kernel lacks is computed"),
    (r"not differentiable with respect to", "there is a derivative"),
    (r"takes \d positional argument|missing 1 required positional|`shifts` required",
     "an argument may be left out, or is ignored (memory_format)"),
    (r"INTERNAL ASSERT|Expected scalar.isIntegral|Boolean value of Tensor|ArrayRef: invalid slice",
     "torch fails inside"),
    (r"refers to a single memory location|refer to a single memory", "old values stay, so memory may overlap"),
    (r"N must be greater than 1", "an empty vector has the matrix with no rows"),
    (r"start must be an 0-dim integral Tensor|subscript in subscript list|rtol must be greater",
     "arguments that nobody writes are not checked"),
    (r"^.*tensor has no dimensions", "0-d losses are broadcast"),
    (r"input.dim\(\) must be greater or equal|running_mean and running_var must either|bins tensor should have one",
     "broadcast, or not looked at"),
    (r"Expected out tensor to have dtype|expects Long tensor out|Trying to resize",
     "out may have a wider dtype, or be empty"),
    (r"implemented for strided tensors only", "the layout is not passed on by this comparison"),
    (r"tensor_indices_or_sections to have dtype of long", "no positions, whatever the dtype"),
    (r"is not divisible by the split_size", "a 0-d tensor is read as a list of one position"),
]  # fmt: skip

GENERATED: dict[str, list[tuple[str, str]]] = {
    "cholesky": [(r"needs at least two dimensions|needs one of", "torch lets an empty vector pass")],
    "bincount": [(r"dtype float64 for int64|one weight for each", "torch ignores weights of an empty input")],
    "block_diag": [(r"gradient 1: value", "torch takes the adjoint from the first row if an empty block comes first")],
    "cross_entropy": [(r"zero-size array", "no classes")],
    "cummax": [(r"dimension out of range", "torch does not look at dim of an empty input")],
    "cummin": [(r"dimension out of range", "torch does not look at dim of an empty input")],
    "histc": OPS["histc"],
    "histogram": [(r"result 0: value", "edges that do not grow mean nothing")],
    "inner": [(r"bool tensors have no products", "torch multiplies bools only if they are not contiguous")],
    "logit": [(r"gradient 0: value|-inf for inf", "outside of (0, 1) the value is NaN; eps above 1/2 means nothing")],
    "median": [(r"has no median|have no median", "torch gives the smallest integer for no elements")],
    "nanmedian": [(r"has no median|have no median", "torch gives the smallest integer for no elements")],
    "searchsorted": [(r"result 0: value", "the sequence is not sorted")],
    "tensordot": [(r"bool tensors have no products", "as inner")],
    "trapezoid": [(r"dtype float32 for|one coordinate for each|cannot be subtracted", "torch lets empty samples pass")],
    "trapz": [(r"dtype float32 for|one coordinate for each|cannot be subtracted", "torch lets empty samples pass")],
    "nn.functional.cross_entropy": [(r"zero-size array", "no classes")],
    "nn.functional.local_response_norm": [INTEGERS],
    "nn.functional.softmin": [INTEGERS],
    "nn.functional.soft_margin_loss": [(r"must have the same size", "sizes must agree, as torch documents it")],
    "nn.functional.pairwise_distance": [INTEGERS],
    "nn.functional.poisson_nll_loss": [INTEGERS],
}
