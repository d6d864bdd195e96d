"""`python -m vitgan_tf COMMAND` is `vitgan COMMAND`."""

from vitgan_tf.commands.main import main

if __name__ == "__main__":
    main()
