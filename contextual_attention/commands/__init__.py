"""The commands of ``python -m contextual_attention``, a module each; cli.py says what such a module holds."""
