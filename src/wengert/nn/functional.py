"""``wg.nn.functional``: the functions behind the layers, gathered from their families."""

from ..functional.activation import *
from ..functional.attention import *
from ..functional.blas import linear
from ..functional.conv import *
from ..functional.dropout import *
from ..functional.embedding import *
from ..functional.grid_sample import *
from ..functional.loss import *
from ..functional.norm import *
from ..functional.outs import NN, accept_out
from ..functional.pool import *
from ..functional.pool_adaptive import *
from ..functional.resize import *
from ..functional.softmax import *

accept_out(globals(), NN)
