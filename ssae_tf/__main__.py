"""`python -m ssae_tf` is the command `ssae-tf`."""

from ssae_tf.cli.main import main

if __name__ == "__main__":
    main()
