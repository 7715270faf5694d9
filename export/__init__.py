"""Artefacts that run without this package, installed as `ssae_tf.export`: one file per format."""
