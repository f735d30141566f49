"""Descriptions of weak-to-strong genomes: a title, a claim, the idea families."""

from __future__ import annotations

from collections.abc import Iterator

from aar.problems.search_space.protocol import Genome


def describe_genome(genome: Genome) -> str:
    """Return one sentence that names every component in use."""
    return ", ".join(_phrases(genome))


def _phrases(genome: Genome) -> Iterator[str]:
    source = "teacher"
    if genome["prompts"]:
        how = {"full": "", "by agreement": ", by agreement", "if agreeing": ", if agreeing"}[str(genome["trust"])]
        fitted = "fitted " if genome["elicitation"] == "fitted directions" else ""
        source = f"teacher + {genome['prompts']:g} x {fitted}prompts{how}"
    yield f"{genome['labels']} labels from {source}"
    repairs = {
        "neighbours": f"denoised by {genome['neighbours']} neighbours",
        "out-of-fold": "relabelled out of fold",
        "channel": "corrected by a noisy channel (EM)",
    }
    if genome["denoise"] in repairs:
        yield repairs[str(genome["denoise"])]
    if genome["prompts"] and genome["agreement"]:
        yield "where teacher and prompts agree"
    if genome["keep"] != 1.0:
        yield f"most confident {genome['keep']:.0%}"
    if genome["weighting"] == "confidence":
        yield "weighted by confidence"
    if genome["pca"]:
        yield f"{'whitened ' if genome['whiten'] else ''}PCA-{genome['pca']}"
    layers = str(genome["layers"])
    yield "layers 4 to 6" if layers == "4,5,6" else f"layer{'s' if ',' in layers else ''} {layers}"
    yield f"{'auxiliary-confidence ' if genome['loss'] != 'cross-entropy' else ''}head with L2 {genome['l2']:g}"
    if genome["rounds"]:
        yield f"{genome['rounds']} rounds of self-training"
    if genome["members"] != 1:
        yield f"{genome['members']} bagged heads"
    if genome["prompts"] and genome["vote"]:
        yield f"prompts vote with {genome['vote']:g}"
    if genome["smoothing"]:
        yield f"smoothed over {genome['smoothing']} test neighbours"
    if genome["threshold"] == "pool median":
        yield "threshold at the pool's median"


def genome_families(genome: Genome) -> list[str]:
    """Return the active idea families, the most characteristic first; at most four."""
    found = [
        ("unsupervised-elicitation", bool(genome["prompts"])),
        ("self-training", bool(genome["rounds"]) or genome["denoise"] == "out-of-fold"),
        ("confidence-weighting", genome["weighting"] == "confidence" or genome["denoise"] == "channel"),
        ("data-filtering", genome["keep"] != 1.0 or bool(genome["prompts"] and genome["agreement"])),
        ("model-internals", bool(genome["pca"]) or genome["layers"] != "4,5,6" or genome["denoise"] == "neighbours"),
        ("ensemble", genome["members"] != 1),
        ("loss-function", genome["loss"] != "cross-entropy"),
        ("distillation", genome["labels"] != "hard"),
    ]
    return [family for family, there in found if there][:4] or ["other"]


def genome_claim(genome: Genome) -> str:
    """Return one paragraph: the method's steps, and its expected effect."""
    return (
        f"A head on frozen states, trained on {describe_genome(genome)}. Composed by a search over components (offline "
        "search "
        "baseline, not an LLM), which expects it to score near its parent or above, and learns from the measured score."
    )
