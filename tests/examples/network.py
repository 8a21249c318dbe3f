"""A network of one's own: this entry, in NETWORKS of dclib/networks/names.py, is all of it."""

from dclib.networks.names import Architecture
from dclib.networks.parts import RELU, Conv, MaxPool, Norm

NETWORKS = {
    "TinyNet": Architecture(
        (Conv(8), Norm("instancenorm"), RELU, MaxPool(), Conv(16), RELU, MaxPool()),
        hidden=(32,),
    ),
}
