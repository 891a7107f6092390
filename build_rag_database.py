"""Makes the RAG database: a split's motions and captions, embedded by the retriever. `--add` puts in your own clips."""

from options.command_line import parse
from options.library import BuildOptions, as_the_demo
from utils.errors import run_script


def main() -> None:
    """Options -> retriever and clips -> database folder."""
    options = parse(BuildOptions, description=__doc__, underlying=as_the_demo)

    from pipeline.library import add_clips, build_library, merge_library

    job = add_clips if options.add is not None else merge_library if options.merge else build_library
    folder, database = job(options)
    captions = len(database.embedded.text)
    print(f"{folder}: {len(database)} motions, {captions} captions, dimension {database.dimension}")


if __name__ == "__main__":
    run_script(main)
