CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
)

CREATE TABLE campaign (
    id VARCHAR(16) NOT NULL,
    name VARCHAR(200) NOT NULL,
    problem VARCHAR(500) NOT NULL,
    spec JSON NOT NULL,
    state VARCHAR(16) NOT NULL,
    cause TEXT NOT NULL,
    secret VARCHAR(64) NOT NULL,
    controller VARCHAR(200) NOT NULL,
    heartbeat_at DATETIME,
    address VARCHAR(200) NOT NULL,
    sandbox VARCHAR(32) NOT NULL,
    created_at DATETIME NOT NULL,
    started_at DATETIME,
    finished_at DATETIME, problem_version INTEGER DEFAULT '1' NOT NULL,
    CONSTRAINT pk_campaign PRIMARY KEY (id)
)

CREATE TABLE control (
    id INTEGER NOT NULL,
    campaign_id VARCHAR(16) NOT NULL,
    command VARCHAR(32) NOT NULL,
    argument TEXT NOT NULL,
    "by" VARCHAR(64) NOT NULL,
    created_at DATETIME NOT NULL,
    handled_at DATETIME,
    CONSTRAINT pk_control PRIMARY KEY (id),
    CONSTRAINT fk_control_campaign_id FOREIGN KEY(campaign_id) REFERENCES campaign (id)
)

CREATE INDEX ix_control_campaign_id ON control (campaign_id)

CREATE TABLE researcher (
    id VARCHAR(32) NOT NULL,
    campaign_id VARCHAR(16) NOT NULL,
    name VARCHAR(64) NOT NULL,
    "index" INTEGER NOT NULL,
    direction_key VARCHAR(64) NOT NULL,
    direction TEXT NOT NULL,
    family VARCHAR(32) NOT NULL,
    model VARCHAR(100) NOT NULL,
    state VARCHAR(16) NOT NULL,
    cause TEXT NOT NULL,
    doing TEXT NOT NULL,
    token_hash VARCHAR(64) NOT NULL,
    active_seconds DOUBLE NOT NULL,
    CONSTRAINT pk_researcher PRIMARY KEY (id),
    CONSTRAINT fk_researcher_campaign_id FOREIGN KEY(campaign_id) REFERENCES campaign (id),
    CONSTRAINT uq_researcher_campaign_id_index UNIQUE (campaign_id, "index")
)

CREATE INDEX ix_researcher_campaign_id ON researcher (campaign_id)

CREATE INDEX ix_researcher_token_hash ON researcher (token_hash)

CREATE TABLE event (
    id INTEGER NOT NULL,
    campaign_id VARCHAR(16) NOT NULL,
    researcher_id VARCHAR(32),
    kind VARCHAR(40) NOT NULL,
    at DATETIME NOT NULL,
    payload JSON NOT NULL,
    CONSTRAINT pk_event PRIMARY KEY (id),
    CONSTRAINT fk_event_campaign_id FOREIGN KEY(campaign_id) REFERENCES campaign (id),
    CONSTRAINT fk_event_researcher_id FOREIGN KEY(researcher_id) REFERENCES researcher (id)
)

CREATE INDEX ix_event_campaign_id_id ON event (campaign_id, id)

CREATE INDEX ix_event_researcher_id_id ON event (researcher_id, id)

CREATE TABLE ledger_entry (
    id INTEGER NOT NULL,
    request_id VARCHAR(64) NOT NULL,
    campaign_id VARCHAR(16) NOT NULL,
    researcher_id VARCHAR(32),
    kind VARCHAR(16) NOT NULL,
    state VARCHAR(16) NOT NULL,
    model VARCHAR(100) NOT NULL,
    reserved_usd BIGINT NOT NULL,
    usd BIGINT NOT NULL,
    reserved_tokens BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    cache_write_5m_tokens BIGINT NOT NULL,
    cache_write_1h_tokens BIGINT NOT NULL,
    cache_read_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    server_tool_uses INTEGER NOT NULL,
    seconds DOUBLE NOT NULL,
    created_at DATETIME NOT NULL,
    settled_at DATETIME,
    CONSTRAINT pk_ledger_entry PRIMARY KEY (id),
    CONSTRAINT fk_ledger_entry_campaign_id FOREIGN KEY(campaign_id) REFERENCES campaign (id),
    CONSTRAINT fk_ledger_entry_researcher_id FOREIGN KEY(researcher_id) REFERENCES researcher (id),
    CONSTRAINT uq_ledger_entry_request_id UNIQUE (request_id)
)

CREATE INDEX ix_ledger_entry_campaign_id_researcher_id ON ledger_entry (campaign_id, researcher_id)

CREATE TABLE snapshot (
    digest VARCHAR(64) NOT NULL,
    campaign_id VARCHAR(16) NOT NULL,
    researcher_id VARCHAR(32),
    parent VARCHAR(64),
    files INTEGER NOT NULL,
    size_bytes BIGINT NOT NULL,
    created_at DATETIME NOT NULL,
    CONSTRAINT pk_snapshot PRIMARY KEY (digest, campaign_id),
    CONSTRAINT fk_snapshot_campaign_id FOREIGN KEY(campaign_id) REFERENCES campaign (id),
    CONSTRAINT fk_snapshot_researcher_id FOREIGN KEY(researcher_id) REFERENCES researcher (id)
)

CREATE TABLE submission (
    id INTEGER NOT NULL,
    campaign_id VARCHAR(16) NOT NULL,
    number INTEGER NOT NULL,
    researcher_id VARCHAR(32) NOT NULL,
    digest VARCHAR(64) NOT NULL,
    parent VARCHAR(64),
    title VARCHAR(200) NOT NULL,
    claim TEXT NOT NULL,
    families JSON NOT NULL,
    state VARCHAR(16) NOT NULL,
    status VARCHAR(16) NOT NULL,
    verdict TEXT NOT NULL,
    mean DOUBLE,
    standard_error DOUBLE,
    low DOUBLE,
    high DOUBLE,
    by_domain JSON NOT NULL,
    seeds INTEGER NOT NULL,
    idempotency_key VARCHAR(100),
    created_at DATETIME NOT NULL,
    finished_at DATETIME, hypothesis TEXT DEFAULT '' NOT NULL, identity VARCHAR(64) DEFAULT '' NOT NULL, charged_runs INTEGER DEFAULT '0' NOT NULL, disqualified VARCHAR(64) DEFAULT '' NOT NULL, telling VARCHAR(8) DEFAULT '' NOT NULL, freedom DOUBLE,
    CONSTRAINT pk_submission PRIMARY KEY (id),
    CONSTRAINT fk_submission_campaign_id FOREIGN KEY(campaign_id) REFERENCES campaign (id),
    CONSTRAINT fk_submission_researcher_id FOREIGN KEY(researcher_id) REFERENCES researcher (id),
    CONSTRAINT uq_submission_campaign_id_idempotency_key UNIQUE (campaign_id, idempotency_key),
    CONSTRAINT uq_submission_campaign_id_number UNIQUE (campaign_id, number)
)

CREATE INDEX ix_submission_campaign_id ON submission (campaign_id)

CREATE INDEX ix_submission_researcher_id ON submission (researcher_id)

CREATE TABLE post (
    id INTEGER NOT NULL,
    campaign_id VARCHAR(16) NOT NULL,
    researcher_id VARCHAR(32),
    author VARCHAR(64) NOT NULL,
    kind VARCHAR(16) NOT NULL,
    title VARCHAR(200) NOT NULL,
    body TEXT NOT NULL,
    submission_id INTEGER,
    score INTEGER NOT NULL,
    idempotency_key VARCHAR(100),
    created_at DATETIME NOT NULL, edited_at DATETIME, retracted_at DATETIME, retraction TEXT DEFAULT '' NOT NULL, pinned_at DATETIME, families JSON DEFAULT '[]' NOT NULL,
    CONSTRAINT pk_post PRIMARY KEY (id),
    CONSTRAINT fk_post_campaign_id FOREIGN KEY(campaign_id) REFERENCES campaign (id),
    CONSTRAINT fk_post_researcher_id FOREIGN KEY(researcher_id) REFERENCES researcher (id),
    CONSTRAINT fk_post_submission_id FOREIGN KEY(submission_id) REFERENCES submission (id),
    CONSTRAINT uq_post_campaign_id_idempotency_key UNIQUE (campaign_id, idempotency_key)
)

CREATE INDEX ix_post_campaign_id_id ON post (campaign_id, id)

CREATE TABLE comment (
    id INTEGER NOT NULL,
    campaign_id VARCHAR(16) NOT NULL,
    post_id INTEGER NOT NULL,
    researcher_id VARCHAR(32),
    author VARCHAR(64) NOT NULL,
    body TEXT NOT NULL,
    idempotency_key VARCHAR(100),
    created_at DATETIME NOT NULL, edited_at DATETIME, retracted_at DATETIME, retraction TEXT DEFAULT '' NOT NULL,
    CONSTRAINT pk_comment PRIMARY KEY (id),
    CONSTRAINT fk_comment_campaign_id FOREIGN KEY(campaign_id) REFERENCES campaign (id),
    CONSTRAINT fk_comment_post_id FOREIGN KEY(post_id) REFERENCES post (id),
    CONSTRAINT fk_comment_researcher_id FOREIGN KEY(researcher_id) REFERENCES researcher (id),
    CONSTRAINT uq_comment_campaign_id_idempotency_key UNIQUE (campaign_id, idempotency_key)
)

CREATE INDEX ix_comment_campaign_id_id ON comment (campaign_id, id)

CREATE INDEX ix_comment_post_id ON comment (post_id)

CREATE TABLE vote (
    id INTEGER NOT NULL,
    post_id INTEGER NOT NULL,
    voter VARCHAR(80) NOT NULL,
    value INTEGER NOT NULL,
    created_at DATETIME NOT NULL,
    CONSTRAINT pk_vote PRIMARY KEY (id),
    CONSTRAINT fk_vote_post_id FOREIGN KEY(post_id) REFERENCES post (id),
    CONSTRAINT uq_vote_post_id_voter UNIQUE (post_id, voter)
)

CREATE VIRTUAL TABLE post_search USING fts5(title, body, content='post', content_rowid='id', tokenize='porter unicode61')

CREATE TRIGGER post_search_insert AFTER INSERT ON post BEGIN INSERT INTO post_search (rowid, title, body) VALUES (new.id, new.title, new.body); END

CREATE TRIGGER post_search_delete AFTER DELETE ON post BEGIN INSERT INTO post_search (post_search, rowid, title, body) VALUES ('delete', old.id, old.title, old.body); END

CREATE TRIGGER post_search_update AFTER UPDATE OF title, body ON post BEGIN INSERT INTO post_search (post_search, rowid, title, body) VALUES ('delete', old.id, old.title, old.body); INSERT INTO post_search (rowid, title, body) VALUES (new.id, new.title, new.body); END

CREATE VIRTUAL TABLE comment_search USING fts5(body, content='comment', content_rowid='id', tokenize='porter unicode61')

CREATE TRIGGER comment_search_insert AFTER INSERT ON comment BEGIN INSERT INTO comment_search (rowid, body) VALUES (new.id, new.body); END

CREATE TRIGGER comment_search_delete AFTER DELETE ON comment BEGIN INSERT INTO comment_search (comment_search, rowid, body) VALUES ('delete', old.id, old.body); END

CREATE TRIGGER comment_search_update AFTER UPDATE OF body ON comment BEGIN INSERT INTO comment_search (comment_search, rowid, body) VALUES ('delete', old.id, old.body); INSERT INTO comment_search (rowid, body) VALUES (new.id, new.body); END

CREATE TABLE submission_check (
    id INTEGER NOT NULL,
    campaign_id VARCHAR(16) NOT NULL,
    submission_id INTEGER NOT NULL,
    kind VARCHAR(16) NOT NULL,
    state VARCHAR(16) NOT NULL,
    cause TEXT NOT NULL,
    "by" VARCHAR(64) NOT NULL,
    created_at DATETIME NOT NULL,
    finished_at DATETIME,
    CONSTRAINT pk_submission_check PRIMARY KEY (id),
    CONSTRAINT fk_submission_check_campaign_id FOREIGN KEY(campaign_id) REFERENCES campaign (id),
    CONSTRAINT fk_submission_check_submission_id FOREIGN KEY(submission_id) REFERENCES submission (id)
)

CREATE TABLE stage_estimate (
    id INTEGER NOT NULL,
    submission_id INTEGER NOT NULL,
    stage VARCHAR(16) NOT NULL,
    mean DOUBLE NOT NULL,
    standard_error DOUBLE NOT NULL,
    low DOUBLE NOT NULL,
    high DOUBLE NOT NULL,
    seeds INTEGER NOT NULL,
    by_domain JSON NOT NULL,
    updated_at DATETIME NOT NULL, freedom DOUBLE,
    CONSTRAINT pk_stage_estimate PRIMARY KEY (id),
    CONSTRAINT fk_stage_estimate_submission_id FOREIGN KEY(submission_id) REFERENCES submission (id),
    CONSTRAINT uq_stage_estimate_submission_id_stage UNIQUE (submission_id, stage)
)

CREATE TABLE status_change (
    id INTEGER NOT NULL,
    campaign_id VARCHAR(16) NOT NULL,
    submission_id INTEGER NOT NULL,
    old VARCHAR(16) NOT NULL,
    new VARCHAR(16) NOT NULL,
    cause TEXT NOT NULL,
    "by" VARCHAR(64) NOT NULL,
    at DATETIME NOT NULL,
    CONSTRAINT pk_status_change PRIMARY KEY (id),
    CONSTRAINT fk_status_change_campaign_id FOREIGN KEY(campaign_id) REFERENCES campaign (id),
    CONSTRAINT fk_status_change_submission_id FOREIGN KEY(submission_id) REFERENCES submission (id)
)

CREATE TABLE audit_finding (
    id INTEGER NOT NULL,
    campaign_id VARCHAR(16) NOT NULL,
    submission_id INTEGER NOT NULL,
    audit VARCHAR(32) NOT NULL,
    verdict VARCHAR(16) NOT NULL,
    rule VARCHAR(64) NOT NULL,
    reason TEXT NOT NULL,
    evidence JSON NOT NULL,
    at DATETIME NOT NULL,
    CONSTRAINT pk_audit_finding PRIMARY KEY (id),
    CONSTRAINT fk_audit_finding_campaign_id FOREIGN KEY(campaign_id) REFERENCES campaign (id),
    CONSTRAINT fk_audit_finding_submission_id FOREIGN KEY(submission_id) REFERENCES submission (id)
)

CREATE INDEX ix_submission_check_campaign_id ON submission_check (campaign_id)

CREATE INDEX ix_submission_check_submission_id ON submission_check (submission_id)

CREATE INDEX ix_status_change_campaign_id ON status_change (campaign_id)

CREATE INDEX ix_status_change_submission_id ON status_change (submission_id)

CREATE INDEX ix_audit_finding_campaign_id ON audit_finding (campaign_id)

CREATE INDEX ix_audit_finding_submission_id ON audit_finding (submission_id)

CREATE INDEX ix_submission_identity ON submission (identity)

CREATE TABLE "scoring_run" (
    id INTEGER NOT NULL,
    submission_id INTEGER NOT NULL,
    "index" INTEGER NOT NULL,
    stage VARCHAR(16) NOT NULL,
    domain VARCHAR(64) NOT NULL,
    seed BIGINT NOT NULL,
    split_seed BIGINT NOT NULL,
    state VARCHAR(16) NOT NULL,
    verdict TEXT NOT NULL,
    output_digest VARCHAR(64),
    parts JSON NOT NULL,
    seconds DOUBLE NOT NULL,
    started_at DATETIME NOT NULL,
    check_id INTEGER,
    CONSTRAINT pk_scoring_run PRIMARY KEY (id),
    CONSTRAINT uq_scoring_run_submission_id_stage_index UNIQUE (submission_id, stage, "index"),
    CONSTRAINT fk_scoring_run_submission_id FOREIGN KEY(submission_id) REFERENCES submission (id),
    CONSTRAINT fk_scoring_run_check_id FOREIGN KEY(check_id) REFERENCES submission_check (id)
)

CREATE INDEX ix_scoring_run_submission_id ON scoring_run (submission_id)

CREATE TRIGGER event_no_update BEFORE UPDATE ON event BEGIN SELECT RAISE(ABORT, 'rows of event are never changed'); END

CREATE TRIGGER event_no_delete BEFORE DELETE ON event BEGIN SELECT RAISE(ABORT, 'rows of event are never changed'); END

CREATE TRIGGER event_no_replace BEFORE INSERT ON event WHEN EXISTS (SELECT 1 FROM event WHERE id = NEW.id) BEGIN SELECT RAISE(ABORT, 'rows of event are never changed'); END

CREATE TRIGGER status_change_no_update BEFORE UPDATE ON status_change BEGIN SELECT RAISE(ABORT, 'rows of status_change are never changed'); END

CREATE TRIGGER status_change_no_delete BEFORE DELETE ON status_change BEGIN SELECT RAISE(ABORT, 'rows of status_change are never changed'); END

CREATE TRIGGER status_change_no_replace BEFORE INSERT ON status_change WHEN EXISTS (SELECT 1 FROM status_change WHERE id = NEW.id) BEGIN SELECT RAISE(ABORT, 'rows of status_change are never changed'); END

CREATE TRIGGER audit_finding_no_update BEFORE UPDATE ON audit_finding BEGIN SELECT RAISE(ABORT, 'rows of audit_finding are never changed'); END

CREATE TRIGGER audit_finding_no_delete BEFORE DELETE ON audit_finding BEGIN SELECT RAISE(ABORT, 'rows of audit_finding are never changed'); END

CREATE TRIGGER audit_finding_no_replace BEFORE INSERT ON audit_finding WHEN EXISTS (SELECT 1 FROM audit_finding WHERE id = NEW.id) BEGIN SELECT RAISE(ABORT, 'rows of audit_finding are never changed'); END

CREATE INDEX ix_event_mentions ON event (campaign_id, id) WHERE kind = 'researchers_mentioned'

CREATE TABLE revision (
    id INTEGER NOT NULL,
    campaign_id VARCHAR(16) NOT NULL,
    post_id INTEGER NOT NULL,
    comment_id INTEGER,
    title VARCHAR(200) NOT NULL,
    body TEXT NOT NULL,
    "by" VARCHAR(64) NOT NULL,
    at DATETIME NOT NULL,
    CONSTRAINT pk_revision PRIMARY KEY (id),
    CONSTRAINT fk_revision_campaign_id FOREIGN KEY(campaign_id) REFERENCES campaign (id),
    CONSTRAINT fk_revision_post_id FOREIGN KEY(post_id) REFERENCES post (id),
    CONSTRAINT fk_revision_comment_id FOREIGN KEY(comment_id) REFERENCES comment (id)
)

CREATE INDEX ix_revision_post_id ON revision (post_id)

CREATE TABLE claim (
    id INTEGER NOT NULL,
    campaign_id VARCHAR(16) NOT NULL,
    researcher_id VARCHAR(32) NOT NULL,
    author VARCHAR(64) NOT NULL,
    topic VARCHAR(200) NOT NULL,
    created_at DATETIME NOT NULL,
    expires_at DATETIME NOT NULL,
    CONSTRAINT pk_claim PRIMARY KEY (id),
    CONSTRAINT fk_claim_campaign_id FOREIGN KEY(campaign_id) REFERENCES campaign (id),
    CONSTRAINT fk_claim_researcher_id FOREIGN KEY(researcher_id) REFERENCES researcher (id)
)

CREATE INDEX ix_claim_campaign_id_expires_at ON claim (campaign_id, expires_at)

CREATE INDEX ix_event_kind ON event (campaign_id, kind, id)

CREATE TABLE figure (
    id INTEGER NOT NULL,
    campaign_id VARCHAR(16) NOT NULL,
    digest VARCHAR(64) NOT NULL,
    researcher_id VARCHAR(32),
    author VARCHAR(64) NOT NULL,
    media_type VARCHAR(16) NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    created_at DATETIME NOT NULL,
    data BLOB NOT NULL,
    CONSTRAINT pk_figure PRIMARY KEY (id),
    CONSTRAINT fk_figure_campaign_id FOREIGN KEY(campaign_id) REFERENCES campaign (id),
    CONSTRAINT fk_figure_researcher_id FOREIGN KEY(researcher_id) REFERENCES researcher (id),
    CONSTRAINT uq_figure_campaign_id_digest UNIQUE (campaign_id, digest)
)

CREATE INDEX ix_figure_campaign_id_author ON figure (campaign_id, author)

CREATE INDEX ix_ledger_entry_settled ON ledger_entry (campaign_id, state, settled_at)

CREATE INDEX ix_post_author ON post (researcher_id, id)

CREATE INDEX ix_post_kind ON post (campaign_id, kind, id)

CREATE INDEX ix_post_pinned ON post (campaign_id, pinned_at) WHERE pinned_at IS NOT NULL

INSERT INTO alembic_version (version_num) VALUES ('0011')
