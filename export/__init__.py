"""Artefacts that run without this package, installed as `ssae_tf.export`: one file per format.

`serving` says what all of them compute, `build` makes one and proves it, `artefact` opens it,
`client` talks to one behind TF Serving.
"""
