-- Runs, their events, and how far consumers of them have come.
--
-- Applied by Ringfence in one transaction, with "ringfence" replaced by the name of the schema.

CREATE TABLE "ringfence".runs (
    -- Events belong to a number and not to an id, which may be used again once its run has expired.
    number bigint GENERATED ALWAYS AS IDENTITY,
    version bigint NOT NULL,
    expires_at timestamptz,
    leased_until timestamptz,
    -- Until when somebody may be following the events, by the clock of this server: only then are
    -- there notifications, which take a lock on the whole database at commit.
    tailed_until timestamptz,
    status text COLLATE "C" NOT NULL,
    -- Encoded ids: ASCII, whatever the ids hold.
    id text COLLATE "C" NOT NULL PRIMARY KEY,
    app_id text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    -- Sorts the newest run of an app first. The same text on every state backend.
    position text COLLATE "C" NOT NULL,
    -- The whole record, JSON in ASCII. What stands before it is there to be searched for.
    record text NOT NULL
)
WITH (
    -- Room in each page for the next version of its rows: a heartbeat changes no index.
    fillfactor = 70,
    -- Until a table was analyzed the planner takes it for large. Analyzed while it is small, it
    -- would be read whole, as each session remembers, until it is analyzed again: for a minute.
    autovacuum_analyze_threshold = 1000, autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_insert_threshold = 5000
);

CREATE INDEX runs_app ON "ringfence".runs (app_id, position);
CREATE INDEX runs_app_user ON "ringfence".runs (app_id, user_id, position);
CREATE INDEX runs_app_status ON "ringfence".runs (app_id, status, position);
-- Not by leased_until: then each heartbeat would change it.
CREATE INDEX runs_running ON "ringfence".runs (number) WHERE status = 'RUNNING';
CREATE INDEX runs_expiring ON "ringfence".runs (expires_at) WHERE expires_at IS NOT NULL;

-- No foreign keys: whatever adds to a run holds a lock on its row, and whatever removes a run waits
-- for that lock. A key would take it again for each event.

CREATE TABLE "ringfence".events (
    run bigint NOT NULL,
    sequence bigint NOT NULL,
    at timestamptz NOT NULL,
    payload text NOT NULL,
    -- Of the batch that begins with this event, if it has an id.
    batch text COLLATE "C",
    digest text COLLATE "C",
    PRIMARY KEY (run, sequence)
)
WITH (
    autovacuum_analyze_threshold = 5000, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_threshold = 5000
);

CREATE UNIQUE INDEX events_batch ON "ringfence".events (run, batch) WHERE batch IS NOT NULL;

CREATE TABLE "ringfence".consumers (
    run bigint NOT NULL,
    consumer text COLLATE "C" NOT NULL,
    sequence bigint NOT NULL,
    PRIMARY KEY (run, consumer)
)
WITH (
    fillfactor = 70,
    autovacuum_analyze_threshold = 5000, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_threshold = 5000
);

-- Each function below locks first and looks then: in a function every statement sees what was
-- committed before it, in a single statement all parts see what was committed before the lock.

-- Appends events and returns the number of the first. NULL where there is no such run; of a batch
-- that is there already its first number, or 0 where it has other events.
CREATE FUNCTION "ringfence".append(
    run_id text, moment timestamptz, payloads text[], batch_id text, batch_digest text
)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    run_number bigint;
    tailed boolean;
    first bigint;
    known text;
BEGIN
    SELECT r.number, r.tailed_until > clock_timestamp() INTO run_number, tailed
    FROM "ringfence".runs r
    WHERE r.id = run_id AND (r.expires_at IS NULL OR r.expires_at > moment)
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF batch_id IS NOT NULL THEN
        SELECT e.sequence, e.digest INTO first, known
        FROM "ringfence".events e WHERE e.run = run_number AND e.batch = batch_id;
        IF FOUND THEN
            RETURN CASE WHEN known = batch_digest THEN first ELSE 0 END;
        END IF;
    END IF;
    SELECT coalesce(max(e.sequence), 0) + 1 INTO first
    FROM "ringfence".events e WHERE e.run = run_number;
    IF cardinality(payloads) = 1 THEN -- a tenth cheaper than unnest, and most are
        INSERT INTO "ringfence".events (run, sequence, at, payload, batch, digest)
        VALUES (run_number, first, moment, payloads[1], batch_id, batch_digest);
    ELSE
        INSERT INTO "ringfence".events (run, sequence, at, payload, batch, digest)
        SELECT run_number, first + n - 1, moment, p,
            CASE WHEN n = 1 THEN batch_id END, CASE WHEN n = 1 THEN batch_digest END
        FROM unnest(payloads) WITH ORDINALITY AS given (p, n);
    END IF;
    IF tailed THEN
        PERFORM pg_notify('ringfence', run_id);
    END IF;
    RETURN first;
END
$$;

-- Puts a new run in the place of an expired one. False where none is there, or it has not expired.
CREATE FUNCTION "ringfence".recreate(
    run_id text, moment timestamptz, app text, usr text, place text, state text, v bigint,
    expires timestamptz, leased timestamptz, content text
)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    old bigint;
BEGIN
    SELECT r.number INTO old FROM "ringfence".runs r
    WHERE r.id = run_id AND r.expires_at <= moment FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    DELETE FROM "ringfence".runs r WHERE r.id = run_id;
    DELETE FROM "ringfence".events e WHERE e.run = old;
    DELETE FROM "ringfence".consumers c WHERE c.run = old;
    INSERT INTO "ringfence".runs
        (id, app_id, user_id, position, status, version, expires_at, leased_until, record)
    VALUES (run_id, app, usr, place, state, v, expires, leased, content)
    ON CONFLICT (id) DO NOTHING;
    RETURN FOUND;
END
$$;

-- Removes expired runs with all they have, and says how many. What others are at is left for later.
CREATE FUNCTION "ringfence".purge(moment timestamptz, most integer)
RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    gone bigint[];
BEGIN
    WITH deleted AS (
        -- An array, not a join: the planner takes it for short and uses the index.
        DELETE FROM "ringfence".runs r WHERE r.id = ANY (ARRAY(
            SELECT e.id FROM "ringfence".runs e WHERE e.expires_at <= moment
            ORDER BY e.expires_at LIMIT most FOR UPDATE SKIP LOCKED
        ))
        RETURNING r.number
    )
    SELECT array_agg(number) INTO gone FROM deleted;
    DELETE FROM "ringfence".events e WHERE e.run = ANY (gone);
    DELETE FROM "ringfence".consumers c WHERE c.run = ANY (gone);
    RETURN coalesce(cardinality(gone), 0);
END
$$;

-- Has notifications sent for a run, so many seconds long, and then says where it stands.
CREATE FUNCTION "ringfence".watch(
    run_id text, moment timestamptz, seconds double precision, OUT last bigint, OUT state text
)
RETURNS SETOF record LANGUAGE plpgsql AS $$
DECLARE
    run_number bigint;
BEGIN
    UPDATE "ringfence".runs r
    SET tailed_until = greatest(r.tailed_until, clock_timestamp() + make_interval(secs => seconds))
    WHERE r.id = run_id AND (r.expires_at IS NULL OR r.expires_at > moment)
    RETURNING r.number, r.status INTO run_number, state;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT coalesce(max(e.sequence), 0) INTO last
    FROM "ringfence".events e WHERE e.run = run_number;
    RETURN NEXT;
END
$$;
