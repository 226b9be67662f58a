"""The names of ``wengert``: everything users reach as ``wg.name``, gathered from the families."""

from math import e, inf, nan, pi

from .compare import compare_derivatives
from .config import (
    enable_grad,
    get_num_threads,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
    set_num_threads,
)
from .custom import custom
from .devices import device
from .dtypes import (
    bfloat16,
    can_cast,
    cdouble,
    cfloat,
    complex64,
    complex128,
    double,
    dtype,
    finfo,
    float16,
    float32,
    float64,
    get_default_dtype,
    half,
    iinfo,
    int8,
    int16,
    int32,
    int64,
    long,
    promote_types,
    set_default_dtype,
    short,
    uint8,
    uint16,
    uint32,
    uint64,
)
from .dtypes import bool_ as bool
from .dtypes import float32 as float
from .dtypes import int32 as int
from .functional.activation import (
    celu,
    celu_,
    hardshrink,
    prelu,
    relu,
    relu_,
    rrelu,
    rrelu_,
    selu,
    selu_,
    threshold,
    threshold_,
)
from .functional.associative_scan import *
from .functional.blas import *
from .functional.compat import *
from .functional.complex_numbers import *
from .functional.control import *
from .functional.creation import *
from .functional.distance import *
from .functional.histogram import *
from .functional.indexing import *
from .functional.joining import *
from .functional.linalg import *
from .functional.memory import *
from .functional.outs import TOP_LEVEL as _TAKE_OUT
from .functional.outs import accept_out as _accept_out
from .functional.parts import *
from .functional.pointwise import *
from .functional.pointwise_formulas import *
from .functional.printing import set_printoptions
from .functional.random import *
from .functional.ranges import *
from .functional.reduction import *
from .functional.scan import *
from .functional.scatter import *
from .functional.shape import *
from .functional.softmax import log_softmax, softmax
from .functional.sorting import *
from .functional.special import *
from .functional.statistics import *
from .functional.stft import *
from .functional.triangles import *
from .graph.graph import Graph
from .graph.node import Node
from .graph.trace import Recording, record
from .legacy import *
from .serialization import load, save
from .tensor import Size, Tensor, is_complex, is_floating_point, is_tensor
from .tracing import trace  # of a function; it hands matrices on to the linear algebra's trace
from .transform.checkpoint import checkpoint
from .transform.reverse import gradients

newaxis = None

_accept_out(globals(), _TAKE_OUT)
