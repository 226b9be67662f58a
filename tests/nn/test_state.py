"""State dictionaries as modules of PyTorch programs take part in them: versions, modules that store themselves."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict
from typing import Any

import pytest

import wengert as wg
from wengert import nn
from wengert.nn.state import StateDictError


class Renamed(nn.Module):
    """Its weight was called "old" once."""

    _version = 2

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(wg.ones(2))

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, *rest: Any) -> None:
        if local_metadata.get("version", 1) < 2:
            state_dict[f"{prefix}weight"] = state_dict.pop(f"{prefix}old")
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)


def test_a_module_reads_an_older_form_of_itself() -> None:
    net = nn.Sequential(Renamed())
    given = {"0.old": wg.zeros(2)}
    assert str(net.load_state_dict(given)) == "<All keys matched successfully>"
    assert net[0].weight.tolist() == [0.0, 0.0]
    assert list(given) == ["0.old"]
    net.load_state_dict(nn.Sequential(Renamed()).state_dict())  # whose version says that it is the newer one
    assert net[0].weight.tolist() == [1.0, 1.0]
    with pytest.raises(StateDictError, match=r'Unexpected key\(s\) in state_dict: "0.other"'):
        net.load_state_dict({"0.old": wg.zeros(2), "0.other": wg.zeros(2)})


class Alone(nn.Module):
    """Stores and loads without what modules do by themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.seen = nn.Parameter(wg.ones(2)), None

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        destination[f"{prefix}twice"] = 2 * self.weight.detach()

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        self.seen = state_dict[f"{prefix}twice"]


def test_a_module_may_store_itself_in_another_way() -> None:
    net = nn.Sequential(nn.Linear(1, 1), Alone())
    state = net.state_dict()
    assert list(state) == ["0.weight", "0.bias", "1.twice"]
    assert str(net.load_state_dict(state)) == "<All keys matched successfully>"
    assert net[1].seen.tolist() == [2.0, 2.0]


def test_a_module_in_another_may_override_state_dict() -> None:
    class More(nn.Linear):
        def state_dict(self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
            out = super().state_dict(*args, destination=destination, prefix=prefix, keep_vars=keep_vars)
            out[f"{prefix}more"] = wg.ones(1)
            return out

    assert list(nn.Sequential(More(1, 1)).state_dict()) == ["0.weight", "0.bias", "0.more"]
    into: OrderedDict[str, Any] = OrderedDict()
    assert nn.Linear(1, 1).state_dict(into, "a.", True) is into
    assert isinstance(into["a.weight"], nn.Parameter)


def test_state_dictionaries_tell_versions() -> None:
    net = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
    assert net.state_dict()._metadata == {"": {"version": 1}, "0": {"version": 1}, "1": {"version": 2}}


def test_batch_norm_of_old_files_has_not_counted_batches() -> None:
    net = nn.Sequential(nn.BatchNorm1d(2))
    net(wg.randn(3, 2))
    state = net.state_dict()
    del state["0.num_batches_tracked"]
    with pytest.raises(StateDictError, match="num_batches_tracked"):  # it says that it is of the newer version
        net.load_state_dict(state)
    net.load_state_dict(dict(state))
    assert net[0].num_batches_tracked.item() == 1


def test_a_vector_of_one_number_loads_into_a_number() -> None:
    net = nn.ParameterDict({"scale": wg.tensor(1.0)})
    net.load_state_dict({"scale": wg.tensor([3.0])})
    assert net["scale"].shape == ()
    assert net["scale"].item() == 3.0


def test_hooks_under_their_older_names() -> None:
    net = nn.Linear(1, 1)
    net._register_load_state_dict_pre_hook(lambda state, prefix, *rest: state.pop("other", None))
    net.load_state_dict({**net.state_dict(), "other": wg.ones(1)})
    net._register_load_state_dict_pre_hook(lambda module, state, *rest: state.pop("more", None), with_module=True)
    net.load_state_dict({**net.state_dict(), "other": wg.ones(1), "more": wg.ones(1)})
    net._register_state_dict_hook(lambda module, state, prefix, metadata: sorted(state))
    assert net.state_dict() == ["bias", "weight"]


# -- compiled in place -----------------------------------------------------------------------------


def test_a_module_compiles_in_place() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 1))
    x = wg.randn(2, 3)
    wanted = net.eval()(x)
    net.compile()
    assert wg.allclose(net(x), wanted)
    net(x).sum().backward()
    assert net[0].weight.grad is not None
    net.train()
    wg.manual_seed(1)
    with pytest.warns(wg.RecompileWarning, match="training mode"):
        first = net(x)
    wg.manual_seed(1)
    assert wg.allclose(first, copy.deepcopy(net)(x))
    net[2] = nn.Linear(4, 2)  # another layer: compiled again
    with pytest.warns(wg.RecompileWarning, match="modules of Sequential have changed"):
        assert net(x).shape == (2, 2)


def test_copies_of_a_compiled_module_are_not_compiled() -> None:
    net = nn.Linear(2, 1)
    net.compile()
    net.compile(check=True)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), copy.copy(net)):
        assert "forward" not in vars(other)
        assert wg.allclose(other(wg.ones(1, 2)), net(wg.ones(1, 2)))


# -- smaller habits --------------------------------------------------------------------------------


def test_a_forward_hook_can_be_called_always() -> None:
    class Fails(nn.Module):
        def forward(self, x: Any) -> Any:
            raise KeyError("mine")

    seen: list[Any] = []
    net = Fails()
    net.register_forward_hook(lambda module, args, output: seen.append("never"))
    net.register_forward_hook(lambda module, args, output: seen.append(output), always_call=True)
    with pytest.raises(KeyError, match="mine"):
        net(wg.ones(1))
    assert seen == [None]
    net.register_forward_hook(lambda *_: 1 / 0, always_call=True, prepend=True)
    with pytest.raises(KeyError, match="mine") as told:  # the first error, and all hooks are called
        net(wg.ones(1))
    assert seen == [None, None] and "ZeroDivisionError" in told.value.__notes__[0]


def test_modules_with_repeats() -> None:
    assert len(list(nn.Sequential(*[nn.ReLU()] * 2).modules(remove_duplicate=False))) == 3
    assert nn.ModuleList([nn.ReLU(), nn.Tanh()]).pop(key=0).__class__ is nn.ReLU


def test_parameter_dict_is_like_a_dictionary() -> None:
    one = nn.ParameterDict({"a": wg.ones(1), "b": wg.zeros(1)})
    assert one.popitem()[0] == "b"
    assert list(one | {"c": wg.ones(1)}) == ["a", "c"]
    assert list({"c": wg.ones(1)} | one) == ["c", "a"]
    other = one.copy()
    other |= {"d": wg.ones(1)}
    assert (list(one), list(other)) == (["a"], ["a", "d"])
    assert one.fromkeys(["x", "y"], 1)["y"] == 1
    with pytest.raises(KeyError, match="empty"):
        nn.ParameterDict().popitem()


def test_a_pretrained_table_takes_its_options_in_order() -> None:
    table = nn.Embedding.from_pretrained(wg.ones(3, 2), False, 0, 1.0)
    assert (table.padding_idx, table.max_norm, table.weight.requires_grad) == (0, 1.0, True)
    bag = nn.EmbeddingBag.from_pretrained(wg.ones(3, 2), True, None, 2.0, False, "sum", padding_idx=1)
    assert (bag.mode, bag.padding_idx, bag.weight.requires_grad) == ("sum", 1, False)


def test_packed_sequences_change_dtype() -> None:
    packed = nn.utils.rnn.pack_sequence([wg.ones(3), wg.ones(2)])
    for name, dtype in (("half", wg.float16), ("long", wg.int64), ("int", wg.int32), ("short", wg.int16)):
        assert getattr(packed, name)().data.dtype == dtype
    assert (packed.char().data.dtype, packed.byte().data.dtype, packed.is_cuda) == (wg.int8, wg.uint8, False)
