"""Text -> motion in the browser: `python app.py`, then open the address that it prints.

Needs `pip install -r requirements-app.txt`. Serves this machine alone unless --host says otherwise.
"""

import os

from options.app import AppOptions
from options.command_line import parse
from utils.errors import run_script


def main() -> None:
    """Options -> models -> page."""
    options = parse(AppOptions, description=__doc__)

    from pipeline.app.listen import address_of, open_listener, require_gradio

    require_gradio()
    listener = open_listener(options.server.host, options.server.port)

    from pipeline.app.results import ResultStore
    from pipeline.app.session import AppSession
    from pipeline.text_to_motion import TextToMotion
    from utils.device import choose_device

    run, device = options.run, choose_device(options.run.gpu_id)
    t2m = TextToMotion.load(run.checkpoints_dir, run.dataset_name, device=device, **vars(options.models))
    with ResultStore(60 * options.server.keep_minutes, options.server.keep_results) as store:
        # Gradio makes folders of its own as soon as it is imported: they go with the results.
        os.environ["GRADIO_TEMP_DIR"] = str(store.folder)
        from pipeline.app.server import serve

        print(f"ReMoMask is at {address_of(listener)} (Ctrl-C ends it)", flush=True)
        serve(AppSession(t2m, options, store), listener, options.server.host)


if __name__ == "__main__":
    run_script(main)
