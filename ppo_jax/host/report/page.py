"""A run as one page of HTML that needs nothing else: no network, no script, no other file."""

from pathlib import Path

from ppo_jax.host.programs import readiness
from ppo_jax.host.report import sections
from ppo_jax.host.report.found import Found, find
from ppo_jax.host.report.markup import Markup, element
from ppo_jax.host.runs import files, request
from ppo_jax.host.runs.directory import RunDirectory

CSS = Path(__file__).with_name("report.css")
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # the page may load nothing at all


def report(run: RunDirectory, output: Path | None = None, recording: bytes | None = None) -> Path:
    """Writes the report of a run, whole or not at all; makes its directory if need be.

    Args:
        run: The directory of a run that is done, was stopped, has failed, or is still running.
        output: The page to write; by default report.html in the run.
        recording: A GIF of the policy, if there is one (see `record`).

    Returns:
        The path of the page.

    Raises:
        UsageError: If the run cannot be read, or the page cannot be written.
    """
    path = output or run.path / "report.html"
    found = find(run)
    # The file is opened before anything is drawn, so that a mistake is found early.
    with files.output(path) as draft:
        draft.write_text(to_html(found, recording), encoding="utf-8")
    return path


def record(run: RunDirectory) -> bytes | None:
    """Films one episode of the policy of a run.

    Returns:
        A GIF; None if no policy was saved, nothing can draw its environment, or its network is the user's
        own and not as it was: a report runs no code that is not trusted.

    Raises:
        UsageError: If the policy cannot be read.
    """
    asked = request.read(run)
    if not run.policy.exists():
        return None
    readiness.check()
    # Imported here, because a report without a recording needs neither JAX nor Gymnasium.
    from ppo_jax.host.pictures import film
    from ppo_jax.host.programs import episode
    from ppo_jax.host.runs import agents, code

    if not film.can_draw(asked.config.env):
        return None
    try:
        config, agent = agents.load(run, say=lambda text: None)
    except code.CodeError:
        return None
    return film.gif(episode.play(config, agent, asked.seed))


def to_html(found: Found, recording: bytes | None = None) -> str:
    """Returns the report as HTML.

    Args:
        found: The content of the run directory.
        recording: A GIF of the policy, if there is one.
    """
    title = f"PPO on {found.asked.config.env}, seed {found.asked.seed}"
    return document(
        title,
        sections.header(found, title),
        sections.diagnostics(found),
        sections.own_metrics(found),
        sections.evaluation(found),
        sections.film(found, recording) if recording else "",
        sections.configuration(found.asked),
        sections.reproduction(found),
    )


def document(title: str, *content: Markup | str) -> str:
    """Returns a whole page.

    Args:
        title: The title of the page.
        content: The sections.
    """
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("title", title),
        element("style", Markup(CSS.read_text())),
    )
    main = element("main", *content)
    return f"<!doctype html>\n{element('html', head, element('body', main), lang='en')}\n"
