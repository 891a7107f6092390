#!/usr/bin/env bash
# Makes the environment and a first motion with the shipped models. Arguments go to demo.py.
set -euo pipefail
cd "$(dirname "$0")"
source setup_env.sh requirements.txt
case " $* " in
*" --text_prompt"* | *" --text_path"* | *" --help "* | *" -h "*) exec python demo.py "$@" ;;
*) exec python demo.py --text_prompt "A person walks forward and waves with the right hand." "$@" ;;
esac
