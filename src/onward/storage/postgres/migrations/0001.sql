-- A journal as version 1 knows it. Applied in one transaction, in the schema that the journal's URL names.

-- What every commit reads and locks stands first, long texts last. Room is left on each page for new versions of its
-- rows: a renewed lease or a counted item then touches no index (HOT), and what it leaves behind goes without a vacuum.
CREATE SEQUENCE onward.run_no AS bigint;
CREATE TABLE onward.run (
    no            bigint PRIMARY KEY DEFAULT nextval('onward.run_no'),
    fence         bigint NOT NULL,
    lease_until   double precision,
    wake_at       double precision,
    stalls        bigint NOT NULL,
    leased_seq    bigint NOT NULL,
    total         bigint,
    done          bigint NOT NULL,
    counted_seq   bigint NOT NULL,
    created_at    double precision NOT NULL,
    updated_at    double precision NOT NULL,
    priority      bigint NOT NULL,
    attempt       bigint NOT NULL,
    direct        boolean NOT NULL,
    request       text COLLATE "C" CHECK (request IN ('pause', 'cancel')),
    owner         text COLLATE "C",
    state         text COLLATE "C" NOT NULL CHECK (state IN
        ('pending', 'running', 'waiting', 'paused', 'stuck', 'done', 'failed', 'cancelled')),
    kind          text COLLATE "C" NOT NULL CHECK (kind IN ('loop', 'map', 'workflow')),
    id            text COLLATE "C" NOT NULL,
    name          text COLLATE "C" NOT NULL,
    identity      text COLLATE "C" NOT NULL,
    queue         text COLLATE "C" NOT NULL,
    lane          text COLLATE "C",
    single        text COLLATE "C",
    parent        text COLLATE "C",
    tags          text,
    -- What an index cannot hold whole: the columns of these names hold what tells them apart, see `longtext`.
    long_identity text COLLATE "C",
    command       text,
    args          text,
    error         text,
    result        text
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
ALTER SEQUENCE onward.run_no OWNED BY onward.run.no;

CREATE UNIQUE INDEX run_id ON onward.run (id);
CREATE UNIQUE INDEX run_open ON onward.run (identity) WHERE direct AND state NOT IN ('done', 'cancelled');
-- Runs that workers execute are found by their ids.
CREATE INDEX run_identity ON onward.run (identity, no) WHERE direct;
CREATE INDEX run_name ON onward.run (name, no);
CREATE INDEX run_state ON onward.run (state, no);
CREATE INDEX run_owner ON onward.run (owner) WHERE owner IS NOT NULL;
-- Whom a worker may claim, in the order in which it does. The second of each kind finds the first runs of a lane, however
-- many of other lanes stand before them.
CREATE INDEX run_ready ON onward.run (queue, name, priority DESC, no) WHERE NOT direct AND state = 'pending';
CREATE INDEX run_ready_lane ON onward.run (queue, name, lane, priority DESC, no)
    WHERE NOT direct AND state = 'pending' AND lane IS NOT NULL;
-- A million sleeping runs cost rows here and nothing else.
CREATE INDEX run_due ON onward.run (queue, name, wake_at, no) WHERE NOT direct AND state = 'waiting';
CREATE INDEX run_due_lane ON onward.run (queue, name, lane, wake_at, no)
    WHERE NOT direct AND state = 'waiting' AND lane IS NOT NULL;
-- As many rows as runs are being executed: who holds them, and what counts against a queue's limits.
CREATE INDEX run_busy ON onward.run (queue, lane, owner) WHERE NOT direct AND state = 'running';
-- Dead letters.
CREATE INDEX run_dead ON onward.run (queue, no) WHERE NOT direct AND state = 'failed';
CREATE UNIQUE INDEX run_single ON onward.run (single) WHERE single IS NOT NULL;

-- No references to `run`: each would be looked up, and its row locked, for every entry once more. Every commit holds
-- the run's row locked anyway; `onward doctor` looks for strays.
CREATE TABLE onward.entry (
    run         bigint NOT NULL,
    seq         bigint NOT NULL,
    fence       bigint NOT NULL,
    attempt     bigint NOT NULL,
    checksum    bigint,
    begun_at    double precision,
    ended_at    double precision NOT NULL,
    kind        text COLLATE "C" NOT NULL,
    state       text COLLATE "C" NOT NULL,
    name        text COLLATE "C" NOT NULL,
    key         text COLLATE "C" NOT NULL,
    long_key    text COLLATE "C",
    fingerprint bytea,
    value       text,
    CONSTRAINT entry_seq PRIMARY KEY (run, seq)
);

CREATE UNIQUE INDEX entry_done ON onward.entry (run, key) WHERE state = 'done';
-- Small: most entries never fail.
CREATE INDEX entry_failed ON onward.entry (run, key) WHERE state IN ('failed', 'reopened');

-- A row comes and goes for every item of a loop: vacuumed by their number, not by their share.
CREATE TABLE onward.begun (
    run      bigint NOT NULL,
    attempt  bigint NOT NULL,
    crashes  bigint NOT NULL,
    fence    bigint NOT NULL,
    due_at   double precision,
    begun_at double precision NOT NULL,
    suspect  boolean NOT NULL,
    kind     text COLLATE "C" NOT NULL,
    name     text COLLATE "C" NOT NULL,
    key      text COLLATE "C" NOT NULL,
    long_key text COLLATE "C",
    PRIMARY KEY (run, key)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

-- `process`: what tells the process from a later one of its number, on its host; `session`: whether the owner holds
-- the advisory lock of its id for as long as it lives.
CREATE TABLE onward.owner (
    id         text COLLATE "C" PRIMARY KEY,
    host       text NOT NULL,
    boot       text NOT NULL,
    pid        bigint NOT NULL,
    command    text NOT NULL,
    started_at double precision NOT NULL,
    process    text,
    session    boolean NOT NULL
);

-- Every queue that ever had a run, with its limits: JSON objects, what the code declares and what a person has chosen.
-- `limited`: whether anything of it has to be counted; then one claim at a time is made of it.
CREATE TABLE onward.queue (
    name     text COLLATE "C" PRIMARY KEY,
    paused   boolean NOT NULL DEFAULT false,
    limited  boolean NOT NULL DEFAULT false,
    declared text NOT NULL DEFAULT '{}',
    chosen   text NOT NULL DEFAULT '{}',
    turn     text COLLATE "C" NOT NULL DEFAULT ''  -- the lane at which the next look at its lanes begins
);

-- When runs of queues with a rate began, as long as that counts; `lane` is empty where all of the queue counts.
CREATE TABLE onward.start (
    queue text COLLATE "C" NOT NULL,
    lane  text COLLATE "C" NOT NULL,
    at    double precision NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (queue, lane, at)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
CREATE INDEX start_at ON onward.start (queue, at);

-- Items of runs that take many. `item` is null once the run has begun: then it stands in the run's arguments, and only
-- what has a key is kept, to be recognised.
CREATE TABLE onward.arrival (
    run      bigint NOT NULL,
    number   bigint NOT NULL,
    name     text COLLATE "C" NOT NULL,
    key      text COLLATE "C",
    item     text,
    checksum bigint NOT NULL,
    chars    bigint NOT NULL,  -- of this one and those before it
    token    bigint NOT NULL,  -- of the transaction in which it came: equal items are told apart by nothing else
    PRIMARY KEY (run, number)
);
CREATE UNIQUE INDEX arrival_key ON onward.arrival (name, key) WHERE key IS NOT NULL;

-- What each living worker says of itself, so that people see what nobody works on. `names` and `queues` are JSON arrays.
CREATE TABLE onward.worker (
    owner       text COLLATE "C" PRIMARY KEY,
    names       text NOT NULL,
    queues      text NOT NULL,
    concurrency bigint NOT NULL,
    state       text NOT NULL,
    seen_at     double precision NOT NULL
);

-- Which waiting run is due when the run with the id `awaited` has ended.
CREATE TABLE onward.waiter (
    awaited text COLLATE "C" NOT NULL,
    run     bigint NOT NULL,
    PRIMARY KEY (awaited, run)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
CREATE INDEX waiter_run ON onward.waiter (run);

-- `spec` is what code defines, as JSON; `going` and `backlog` are JSON arrays of texts. The runs of a schedule are those
-- whose ids begin with its name and whose identity says so, see core.schedules.
CREATE TABLE onward.schedule (
    name        text COLLATE "C" PRIMARY KEY,
    spec        text NOT NULL,
    revision    bigint NOT NULL,
    since       double precision NOT NULL,
    last        double precision NOT NULL,
    next_at     double precision,
    due_at      double precision,
    paused      boolean NOT NULL,
    declarer    text,
    declared_at double precision NOT NULL,
    going       text NOT NULL,
    backlog     text NOT NULL,
    latest      text,
    started     bigint NOT NULL,
    skipped     bigint NOT NULL,
    missed      bigint NOT NULL,
    note        text
);

CREATE TABLE onward.meta (
    name  text COLLATE "C" PRIMARY KEY,
    value text NOT NULL
);
