"""What the jobs of row D read, and what has to be done before."""


def snowball_checkpoint(wildcards, file):
    """A file of the checkpoint that a snowball is to explain; nothing where its centroid is of a file or random."""
    centroid = CONFIG.snowballs[wildcards.snowball].centroid
    if centroid not in list(CONFIG.checkpoints):
        return []
    return f"{CHECKPOINT}/{file}".format(checkpoint=centroid)


def snowball_settings(wildcards):
    """What enters the trials of a snowball beside σ; of a user's own centroid its digest too, so that an edit counts."""
    entry = CONFIG.snowballs[wildcards.snowball]
    settings, content = entry.settings(), None
    if entry.centroid in list(CONFIG.checkpoints):
        settings["centroid"] = None
    elif isinstance(entry.centroid, str):
        path = Path(entry.centroid).expanduser()
        content = file_digest(path) if path.is_file() else None
    return {**settings, "content": content}


def snowball_stages(wildcards):
    """The stages before the trials of a snowball."""
    centroid = CONFIG.snowballs[wildcards.snowball].centroid
    known = centroid in list(CONFIG.checkpoints)
    return [("overdensity", dict(checkpoint=centroid))] if known else []


def snowball_sigmas(wildcards):
    """Label of every job of a sweep → its σ."""
    return CONFIG.snowballs[wildcards.snowball].sigmas()
