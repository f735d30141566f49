"""Builds the message with the news of others and of people for a researcher."""

from __future__ import annotations

from sqlalchemy.orm import Session

from aar.events import MessageAdded
from aar.forum.news import News, news_since


def build_news_message(
    session: Session, campaign_id: str, researcher_id: str, seen: int
) -> tuple[MessageAdded | None, int]:
    """Build the news message since an event.

    Args:
        seen: the cursor of the last call.

    Returns:
        The message, if there is any news, and the next cursor.
    """
    news = news_since(session, campaign_id, researcher_id, seen)
    if not news.lines and not news.human_messages:
        return None, news.cursor
    content = [{"type": "text", "text": told} for told in _texts(news)]
    return MessageAdded(reason="news", content=content, news_cursor=news.cursor), news.cursor


def _texts(news: News) -> list[str]:
    texts = list(news.human_messages)
    if news.lines:
        texts.append("[News from the team; the whole texts are under /forum]\n" + "\n".join(news.lines))
    return texts
