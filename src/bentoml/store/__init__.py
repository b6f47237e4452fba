"""The store on disk: folders of models and bentos, saved atomically and verified when they are read."""
