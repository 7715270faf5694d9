"""The command `ssae-tf`, installed as `ssae_tf.cli`: one file per subcommand, thin."""
