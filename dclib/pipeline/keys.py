"""The keys of a config that are the pipeline's own, with their types, defaults and meaning."""

from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypeAliasType

from dclib.applications.evaluation import protocols
from dclib.fields import Count, Decay, settings

_Listed = Field(min_length=1, json_schema_extra={"uniqueItems": True})

# What is allowed of these, dclib's folders say: see `dclib.pipeline.schema`.
DataSet = TypeAliasType("DataSet", str)
Method = TypeAliasType("Method", str)
Network = TypeAliasType("Network", str)
Tested = TypeAliasType("Tested", str)
Protocol = TypeAliasType("Protocol", str)

DataSets = Annotated[tuple[DataSet, ...], _Listed]
Methods = Annotated[tuple[Method, ...], _Listed]
Networks = Annotated[tuple[Network, ...], _Listed]
TestedNetworks = Annotated[tuple[Tested, ...], _Listed]
Protocols = Annotated[tuple[Protocol, ...], _Listed]
Known = Annotated[str, Field(json_schema_extra={"enum": [*protocols.PROTOCOLS]})]
ImagesPerClass = Annotated[tuple[Count, ...], _Listed]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1, strict=True)]
Seeds = Annotated[tuple[Seed, ...], _Listed]
Device = Annotated[str, Field(pattern="^(auto|cpu|cuda(:[0-9]+)?)$")]


@settings
class Section:
    """Data sets x methods x networks x images per class x seeds."""

    datasets: DataSets
    """data sets of the grid"""
    images_per_class: ImagesPerClass
    """images per class (ipc) of the grid"""
    methods: Methods
    """what makes the sets; `whole` stands for the whole training split"""
    networks: Networks
    """networks that sets are condensed with"""
    seeds: Seeds | None = None
    """experiment seeds, one set each; null for those of the main grid"""
    evaluation_networks: TestedNetworks | None = None
    """networks that every set is evaluated on; null for the one it was condensed with"""
    protocols: Protocols | None = None
    """ways to train and test; null for those of the main grid"""


@settings
class Figures:
    """Choices for the figures."""

    condensed_sets_ipc: Count = 10
    """images per class of the sets that figure 1 shows, or of the nearest ones in the grid"""


@settings
class Execution:
    """How jobs run; does not make a result stale."""

    device: Device = "auto"
    """auto, cpu, cuda or cuda:N"""
    threads: Count = 1
    """CPU threads of a job"""
    gpu_jobs_per_device: Count = 1
    """jobs that may share a GPU; --resources gpu=N allows N jobs in all"""
    checkpoint_seconds: Decay = 60
    """seconds between checkpoints"""


@settings
class Job:
    """Memory and time of a job."""

    mem_mb: Count | None = None
    """megabytes of memory; null for what a job is predicted to take"""
    runtime: Count = 240
    """minutes of the first attempt; the second has twice as many"""


@settings
class Selection:
    """Memory and time of a selection of real images, which takes no GPU."""

    mem_mb: Count = 8000
    """megabytes of memory"""
    runtime: Count = 60
    """minutes of the first attempt; the second has twice as many"""


@settings
class Resources:
    """What jobs ask a cluster for."""

    condense: Job = Job(runtime=720)
    """memory and time of a condensation"""
    evaluate: Job = Job()
    """memory and time of an evaluation, and of a reference network"""
    select: Selection = Selection()
    """memory and time of a selection"""
    max_runtime: Count = 1440
    """minutes that no attempt exceeds: at most what the partition allows"""


@settings
class Snapshots:
    """What the condensation has beside the settings of methods."""

    snapshots: ImagesPerClass | None = None
    """iterations after which sets of the main grid are kept and evaluated as well; null for none"""


@settings
class Evaluated:
    """What the evaluation has beside the settings of a single one."""

    networks: TestedNetworks = ("same",)
    """networks that every set is evaluated on; same for the one it was condensed with"""
    protocols: Protocols = ("dc",)
    """ways to train and test, by name; own for that of a method's authors (random: those of all
    methods beside it but dd)"""


@settings
class OwnProtocol:
    """What a protocol has beside the settings of the evaluation."""

    like: Known = "dc"
    """the known protocol that it is like, but for its own settings"""


@settings
class Config:
    """Every key with its meaning, type and range. An overlay holds those that it changes."""

    datasets: DataSets
    """data sets of the grid"""
    images_per_class: ImagesPerClass
    """images per class (ipc) of the grid"""
    methods: Methods
    """what makes the sets; `whole` stands for the whole training split"""
    networks: Networks
    """networks that sets are condensed with"""
    seeds: Seeds
    """experiment seeds, one set each; where none depends on it, the first seed alone"""
    table2: tuple[Section, ...] | None = None
    """grids that Table 2 is drawn up from; null for none"""
    cross_architecture: Section | None = None
    """the grid of the cross-architecture table and heat map; null for none"""
    ablations: dict[str, Section | None] | None = None
    """a grid for each ablation, by a name of your choice; null for none"""
    data_dir: str | None = None
    """folder of public data sets in torchvision's layout; null for $DCLIB_DATA_DIR, else data/"""
    results_dir: Annotated[str, Field(min_length=1)] = "results"
    """folder that everything is written to"""
    condensation: dict[str, Any] = Field(default_factory=dict)
    """settings of each method that learns a set; a variant, as dc-mse, has those of its method but
    for what is said of it"""
    imported: dict[str, Any] | None = None
    """sets of others by names that stand among `methods`: where their files are; null for none"""
    reference_network: dict[str, Any] = Field(default_factory=dict)
    """how the network is trained that herding, kcenter and forgetting look at, one for each data
    set and network"""
    evaluation: dict[str, Any] = Field(default_factory=dict)
    """how networks are trained on the sets; what is said here holds under every protocol"""
    protocols: dict[str, Any] | None = None
    """ways to train and test of your own, each by a name; null for none"""
    overrides: dict[str, Any] | None = None
    """settings that differ at some points of the grid, by conditions, as in `dataset=MNIST
    method=dc`; null for none"""
    figures: Figures = Figures()
    """choices for the figures"""
    execution: Execution = Execution()
    """how jobs run; does not make a result stale. Another device, or number of threads, rounds
    differently in the last digit"""
    resources: Resources = Resources()
    """what jobs ask a cluster for"""
