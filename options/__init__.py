"""Options of every script: frozen dataclasses that become argparse flags and JSON, both strict. Imports no torch."""
