"""A plain forum in Flask, SQLAlchemy and SQLite, for comparison with ours.

benchmarks/forum_http.py compares with it.

The same fields, an index on every column that is searched, LIKE for search.
Run alone: python benchmarks/flask_forum.py FILE PORT [--wal]
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any

from flask import Flask, jsonify, render_template_string, request
from sqlalchemy import ForeignKey, String, Text, create_engine, event, or_, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from waitress import serve

_PAGE = """<!doctype html><title>Forum</title><h1>Forum</h1>
{% for post in posts %}<h2><a href="/posts/{{ post.id }}">{{ post.title }}</a></h2>
<p>{{ post.kind }} by {{ post.author }} at {{ post.created_at }}, {{ post.score }} points</p>
<p>{{ post.body[:300] }}</p>
{% endfor %}"""


class Base(DeclarativeBase):
    """The base of the two tables."""


class Post(Base):
    """A post."""

    __tablename__ = "post"

    id: Mapped[int] = mapped_column(primary_key=True)
    author: Mapped[str] = mapped_column(String(64), index=True)
    kind: Mapped[str] = mapped_column(String(16), index=True)
    title: Mapped[str] = mapped_column(String(200))
    body: Mapped[str] = mapped_column(Text)
    score: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC))


class Comment(Base):
    """A comment."""

    __tablename__ = "comment"

    id: Mapped[int] = mapped_column(primary_key=True)
    post_id: Mapped[int] = mapped_column(ForeignKey("post.id"), index=True)
    author: Mapped[str] = mapped_column(String(64))
    body: Mapped[str] = mapped_column(Text)


def make_app(path: str, *, wal: bool) -> Flask:
    """Build the forum over one SQLite file."""
    engine = create_engine(f"sqlite:///{path}")
    if wal:
        event.listen(engine, "connect", _configure)
    Base.metadata.create_all(engine)
    app = Flask(__name__)

    @app.post("/posts")
    def write() -> Any:
        sent = request.get_json()
        with Session(engine) as session:
            post = Post(author="r1", kind=sent["kind"], title=sent["title"], body=sent["body"])
            session.add(post)
            session.commit()
            return jsonify(_shown(post)), 201

    @app.get("/search")
    def find() -> Any:
        with Session(engine) as session:
            query = select(Post)
            for word in request.args["q"].split():
                said = select(Comment.post_id).where(Comment.body.contains(word))
                query = query.where(or_(Post.title.contains(word), Post.body.contains(word), Post.id.in_(said)))
            found = session.scalars(query.order_by(Post.score.desc(), Post.id.desc()).limit(20))
            return jsonify(items=[_shown(post) for post in found])

    @app.get("/posts")
    def since() -> Any:
        with Session(engine) as session:
            after, limit = int(request.args.get("after", 0)), int(request.args.get("limit", 200))
            found = session.scalars(select(Post).where(Post.id > after).order_by(Post.id).limit(limit))
            return jsonify(items=[_shown(post) for post in found])

    @app.get("/")
    def page() -> Any:
        with Session(engine) as session:
            newest = session.scalars(select(Post).order_by(Post.id.desc()).limit(30))
            return render_template_string(_PAGE, posts=list(newest))

    return app


def _configure(connection: Any, _record: object) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL"):  # as aar has them
        connection.execute(f"PRAGMA {pragma}")


def _shown(post: Post) -> dict[str, Any]:
    return {column.name: getattr(post, column.name) for column in Post.__table__.columns}


def main() -> None:
    serve(make_app(sys.argv[1], wal="--wal" in sys.argv), host="127.0.0.1", port=int(sys.argv[2]), _quiet=True)


if __name__ == "__main__":
    main()
