# Every data set becomes one memory-mappable file of uint8 tensors that all cells share.


def source_files(wildcards):
    """The file that a data set of the user's own is read from."""
    options = GRID.dataset(wildcards.dataset)
    return options["path"] if options.get("source") == "npz" else []


def source_digest(wildcards):
    """Names and sizes of the images in a folder of the user's own."""
    options = GRID.dataset(wildcards.dataset)
    if options.get("source") != "folder" or "path" not in options:
        return None
    root = Path(options["path"]).expanduser()
    return provenance.digest(
        sorted(
            (str(path.relative_to(root)), path.stat().st_size)
            for path in root.rglob("*")
            if path.is_file()
        )
    )


rule prepare:
    input:
        source_files,
    output:
        f"{RESULTS}/{{dataset}}/data.safetensors",
    log:
        f"{RESULTS}/{{dataset}}/data.log",
    benchmark:
        f"{RESULTS}/{{dataset}}/data.benchmark.tsv"
    params:
        dataset=lambda wildcards: GRID.dataset(wildcards.dataset),
        files=source_digest,
        code=code("prepare.py"),
    conda:
        ENVIRONMENT
    script:
        "../workflow_scripts/prepare.py"
