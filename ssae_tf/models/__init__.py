"""The network of Table 1."""

from ssae_tf.models.keras_defaults import import_keras

# Before any module here makes a class of its layers.
import_keras()
