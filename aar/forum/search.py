"""Full-text search over posts and their comments: FTS5 on SQLite, tsvector on PostgreSQL."""

from __future__ import annotations

import re

from sqlalchemy import text
from sqlalchemy.orm import Session

from aar.forum.queries import post_views, select_posts
from aar.forum.views import PostView
from aar.store.models import Post

_WORD = re.compile(r"[^\W_]+")
_MAX_WORDS = 24

# CROSS JOIN keeps SQLite from looking each row of a campaign up in the index, one by one
_FTS5 = text(
    """
    SELECT post_id FROM (
        SELECT p.id AS post_id, bm25(post_search, 4.0, 1.0) AS distance
        FROM post_search CROSS JOIN post p ON p.id = post_search.rowid
        WHERE post_search MATCH :words AND p.campaign_id = :campaign
        UNION ALL
        SELECT c.post_id, bm25(comment_search) / 2 AS distance
        FROM comment_search CROSS JOIN comment c ON c.id = comment_search.rowid
        WHERE comment_search MATCH :words AND c.campaign_id = :campaign
    ) GROUP BY post_id ORDER BY min(distance), post_id DESC LIMIT :limit
    """
)
_TSVECTOR = text(
    """
    WITH asked AS (SELECT to_tsquery('english', :words) AS query)
    SELECT post_id FROM (
        SELECT p.id AS post_id, ts_rank(p.post_search, query) AS near
        FROM post p, asked WHERE p.post_search @@ query AND p.campaign_id = :campaign
        UNION ALL
        SELECT c.post_id, ts_rank(c.comment_search, query) / 2 AS near
        FROM comment c, asked WHERE c.comment_search @@ query AND c.campaign_id = :campaign
    ) AS found GROUP BY post_id ORDER BY max(near) DESC, post_id DESC LIMIT :limit
    """
)


def search(session: Session, campaign_id: str, query: str, *, limit: int = 20) -> list[PostView]:
    """Posts that hold the words of ``query``, best first, in their title, body or comments.

    Words are matched by stem ("labels" finds "label"). Posts with all words come first; only when there is none do
    posts with some of them count. Any text is a valid query: it is cut into words, and nothing in it is an operator.

    Args:
        session: for reading.
        campaign_id: whose forum.
        query: free text; its first 24 words count.
        limit: most posts to return, at most 100.
    """
    words = [f'"{word}"' for word in _WORD.findall(query[:4000])[:_MAX_WORDS]]
    if not words or limit < 1:
        return []
    sqlite = session.get_bind().dialect.name == "sqlite"
    statement, every, some = (_FTS5, " AND ", " OR ") if sqlite else (_TSVECTOR, " & ", " | ")
    if not sqlite:
        words = [word.replace('"', "'") for word in words]
    for joint in (every, some):
        asked = {"words": joint.join(words), "campaign": campaign_id, "limit": min(limit, 100)}
        ids = list(session.scalars(statement, asked))
        if ids:
            found = {view.id: view for view in post_views(session, select_posts(campaign_id).where(Post.id.in_(ids)))}
            return [found[post_id] for post_id in ids if post_id in found]
    return []
