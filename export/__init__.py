"""Artefacts that run without this package, installed as `ssae_tf.export`.

`formats` has one file for each; `serving` says what all of them compute, `build` makes one and
proves it, `artefact` opens it, `client` talks to one behind TF Serving.
"""
