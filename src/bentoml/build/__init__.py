"""From a project's folder to a bento: one directory that holds all that serving it needs."""
