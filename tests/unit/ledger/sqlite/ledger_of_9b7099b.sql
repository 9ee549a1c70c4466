-- A ledger that rlmwatch wrote at commit 9b7099b, as `sqlite3 ledger.sqlite3 .dump` shows it.
-- Its runs: answered; answered and not published, with a webhook; killed in the middle; held; waiting; refused.
BEGIN TRANSACTION;
CREATE TABLE calls (
                id              INTEGER PRIMARY KEY AUTOINCREMENT,
                run_id          TEXT    NOT NULL REFERENCES runs (run_id),
                key             TEXT    NOT NULL,
                what            TEXT    NOT NULL,
                model           TEXT    NOT NULL,
                state           TEXT    NOT NULL,
                attempt         INTEGER NOT NULL,
                day             TEXT    NOT NULL,         -- UTC day of the intent: the one that pays
                spent_nano      INTEGER NOT NULL,         -- nanodollars: the reservation, then the cost
                reserved_tokens INTEGER NOT NULL,
                reserved_usd    REAL,
                started_at      TEXT    NOT NULL,
                ended_at        TEXT,
                usage           TEXT,                     -- JSON
                request         TEXT    NOT NULL,         -- JSON
                reply           TEXT                      -- JSON
            ) STRICT
            ;
INSERT INTO "calls" VALUES(1,'20261124T100000Z-chat-9a7bed','/1/a/0','llm','m-1','done',1,'2026-11-24',4000000,200,0.01,'2026-11-24T10:01:00.000Z','2026-11-24T10:01:00.000Z','{"input_tokens":20,"output_tokens":30,"cost_usd":0.004,"llm_calls":1,"searches":0}','{"messages":["q"]}','{"text":"text"}');
INSERT INTO "calls" VALUES(2,'20261124T100500Z-chat-ceb1cc','/1/a/0','llm','m-1','done',1,'2026-11-24',4000000,200,0.01,'2026-11-24T10:06:00.000Z','2026-11-24T10:06:00.000Z','{"input_tokens":20,"output_tokens":30,"cost_usd":0.004,"llm_calls":1,"searches":0}','{"messages":["q"]}','{"text":"paid for"}');
INSERT INTO "calls" VALUES(3,'20261124T100500Z-chat-ceb1cc','/1/b/0','llm','m-1','intent',1,'2026-11-24',10000000,200,0.01,'2026-11-24T10:06:00.000Z',NULL,NULL,'{"messages":["q"]}',NULL);
CREATE TABLE deliveries (
                run_id   TEXT    NOT NULL PRIMARY KEY REFERENCES runs (run_id),
                url      TEXT    NOT NULL,
                attempts INTEGER NOT NULL DEFAULT 0,
                due_at   TEXT    NOT NULL,
                ended_at TEXT,                            -- set exactly when it is not to be tried again
                said     TEXT    NOT NULL DEFAULT ''      -- how the last attempt went
            ) STRICT, WITHOUT ROWID
            ;
INSERT INTO "deliveries" VALUES('20261124T100300Z-job-958ac0','https://example.org/hook',0,'2026-11-24T10:03:00.000Z',NULL,'');
CREATE TABLE inputs (
                path      TEXT NOT NULL PRIMARY KEY,
                digest    TEXT NOT NULL,                  -- '' where the next content is new, whatever it is
                signature TEXT,                           -- JSON
                last_run  TEXT NOT NULL DEFAULT ''        -- predecessor of its next run
            ) STRICT, WITHOUT ROWID
            ;
INSERT INTO "inputs" VALUES('bad_input.txt','sha256:bad10','{"size":9,"mtime_ns":1,"ctime_ns":2,"inode":3}','20261124T101000Z-chat-3fa13e');
INSERT INTO "inputs" VALUES('done_input.txt','sha256:done0','{"size":9,"mtime_ns":1,"ctime_ns":2,"inode":3}','20261124T100000Z-chat-9a7bed');
INSERT INTO "inputs" VALUES('held_input.txt','sha256:held7','{"size":9,"mtime_ns":1,"ctime_ns":2,"inode":3}','20261124T100700Z-chat-a622c7');
INSERT INTO "inputs" VALUES('killed_input.txt','sha256:killed5','{"size":9,"mtime_ns":1,"ctime_ns":2,"inode":3}','20261124T100500Z-chat-ceb1cc');
INSERT INTO "inputs" VALUES('waiting_input.txt','sha256:waiting9','{"size":9,"mtime_ns":1,"ctime_ns":2,"inode":3}','20261124T100900Z-chat-8a48d9');
CREATE TABLE runs (
                seq          INTEGER PRIMARY KEY AUTOINCREMENT,
                run_id       TEXT    NOT NULL UNIQUE,
                path         TEXT    NOT NULL,
                kind         TEXT    NOT NULL,
                conversation TEXT    NOT NULL,
                digest       TEXT    NOT NULL,
                predecessor  TEXT    NOT NULL,            -- run before it on this path, '' for the first
                status       TEXT    NOT NULL,
                created_at   TEXT    NOT NULL,
                started_at   TEXT,
                completed_at TEXT,                        -- set exactly when it has ended
                attempt      INTEGER NOT NULL DEFAULT 0,
                published    INTEGER NOT NULL DEFAULT 0,
                held_for     TEXT,
                result       TEXT,                        -- JSON
                pinned       TEXT,                        -- JSON
                options      TEXT    NOT NULL,            -- JSON
                prompt       TEXT    NOT NULL,
                enclosed     TEXT,                        -- JSON; NULL for an input
                UNIQUE (path, digest, predecessor)
            ) STRICT
            ;
INSERT INTO "runs" VALUES(1,'20261124T100000Z-chat-9a7bed','done_input.txt','chat','done','sha256:done0','','complete','2026-11-24T10:00:00.000Z','2026-11-24T10:01:00.000Z','2026-11-24T10:02:00.000Z',1,1,NULL,'{"status":"complete","outcome":"success","answer":"42","partial":false,"error":null,"usage":{"input_tokens":20,"output_tokens":30,"cost_usd":0.004,"llm_calls":1,"searches":0},"notes":["half \ud83d"],"model":"m-1","sources":"{\"pages\": []}"}',NULL,'{"tokens":200}','question of done',NULL);
INSERT INTO "runs" VALUES(2,'20261124T100300Z-job-958ac0','jobs/hooked.json','job','jobs/hooked','sha256:hooked','','complete','2026-11-24T10:03:00.000Z','2026-11-24T10:03:00.000Z','2026-11-24T10:04:00.000Z',1,0,NULL,'{"status":"complete","outcome":"success","answer":"3","partial":false,"error":null,"usage":{"input_tokens":0,"output_tokens":0,"cost_usd":null,"llm_calls":0,"searches":0},"notes":[],"model":null,"sources":null}',NULL,'{}','sum it up','{"data":[1,2],"webhook":"https://example.org/hook"}');
INSERT INTO "runs" VALUES(3,'20261124T100500Z-chat-ceb1cc','killed_input.txt','chat','killed','sha256:killed5','','running','2026-11-24T10:05:00.000Z','2026-11-24T10:05:00.000Z',NULL,1,0,NULL,NULL,'{"model":"m-1","messages":[]}','{"tokens":200}','question of killed',NULL);
INSERT INTO "runs" VALUES(4,'20261124T100700Z-chat-a622c7','held_input.txt','chat','held','sha256:held7','','held','2026-11-24T10:07:00.000Z','2026-11-24T10:07:00.000Z',NULL,1,0,'the key is wrong',NULL,'{"model":"wrong"}','{"tokens":200}','question of held',NULL);
INSERT INTO "runs" VALUES(5,'20261124T100900Z-chat-8a48d9','waiting_input.txt','chat','waiting','sha256:waiting9','','pending','2026-11-24T10:09:00.000Z',NULL,NULL,0,0,NULL,NULL,NULL,'{"tokens":200}','question of waiting',NULL);
INSERT INTO "runs" VALUES(6,'20261124T101000Z-chat-3fa13e','bad_input.txt','chat','bad','sha256:bad10','','failed','2026-11-24T10:10:00.000Z',NULL,'2026-11-24T10:10:00.000Z',0,0,NULL,'{"status":"failed","outcome":"bad_input","answer":null,"partial":false,"error":"no text","usage":{"input_tokens":0,"output_tokens":0,"cost_usd":null,"llm_calls":0,"searches":0},"notes":[],"model":null,"sources":null}',NULL,'{"tokens":200}','question of bad',NULL);
CREATE TABLE spending (day TEXT NOT NULL PRIMARY KEY, nano INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO "spending" VALUES('2026-11-24',18000000);
CREATE TABLE steps (
                id     INTEGER PRIMARY KEY AUTOINCREMENT,
                run_id TEXT    NOT NULL REFERENCES runs (run_id),
                path   TEXT    NOT NULL,                  -- which sub-engine, '' for the run itself
                step   INTEGER NOT NULL,
                record TEXT    NOT NULL,                  -- JSON
                UNIQUE (run_id, path, step)
            ) STRICT
            ;
INSERT INTO "steps" VALUES(1,'20261124T100000Z-chat-9a7bed','',1,'{"path":"","step":1,"attempt":1,"code":"answer(42)","shown":"42","ended":"answered","answer":42,"usage":{"input_tokens":20,"output_tokens":30,"cost_usd":0.004,"llm_calls":1,"searches":0},"started_at":"2026-11-24T10:01:00.000Z","cell_s":0.5,"calls_s":0.1}');
CREATE TABLE tally (status TEXT NOT NULL PRIMARY KEY, runs INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO "tally" VALUES('complete',2);
INSERT INTO "tally" VALUES('failed',1);
INSERT INTO "tally" VALUES('held',1);
INSERT INTO "tally" VALUES('pending',1);
INSERT INTO "tally" VALUES('running',1);
CREATE INDEX runs_open ON runs (status, seq) WHERE completed_at IS NULL;
CREATE INDEX runs_open_in ON runs (conversation, seq) WHERE completed_at IS NULL;
CREATE INDEX runs_unpublished ON runs (completed_at, seq)
                WHERE published = 0 AND completed_at IS NOT NULL
            ;
CREATE INDEX runs_of ON runs (conversation, seq);
CREATE INDEX calls_of ON calls (run_id);
CREATE UNIQUE INDEX calls_live ON calls (run_id, key) WHERE state IN ('intent', 'done');
CREATE INDEX steps_of ON steps (run_id, id);
CREATE INDEX deliveries_open ON deliveries (due_at) WHERE ended_at IS NULL;
CREATE TRIGGER calls_made AFTER INSERT ON calls WHEN NEW.spent_nano != 0 BEGIN
                INSERT INTO spending (day, nano) VALUES (NEW.day, NEW.spent_nano)
                    ON CONFLICT (day) DO UPDATE SET nano = nano + excluded.nano;
            END;
CREATE TRIGGER calls_settled AFTER UPDATE OF spent_nano ON calls WHEN NEW.spent_nano != OLD.spent_nano BEGIN
                INSERT INTO spending (day, nano) VALUES (NEW.day, NEW.spent_nano - OLD.spent_nano)
                    ON CONFLICT (day) DO UPDATE SET nano = nano + excluded.nano;
            END;
CREATE TRIGGER runs_made AFTER INSERT ON runs BEGIN
                INSERT INTO tally (status, runs) VALUES (NEW.status, 1)
                    ON CONFLICT (status) DO UPDATE SET runs = runs + 1;
            END;
CREATE TRIGGER runs_moved AFTER UPDATE OF status ON runs WHEN NEW.status != OLD.status BEGIN
                UPDATE tally SET runs = runs - 1 WHERE status = OLD.status;
                INSERT INTO tally (status, runs) VALUES (NEW.status, 1)
                    ON CONFLICT (status) DO UPDATE SET runs = runs + 1;
            END;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('runs',6);
INSERT INTO "sqlite_sequence" VALUES('calls',3);
INSERT INTO "sqlite_sequence" VALUES('steps',1);
COMMIT;
PRAGMA user_version = 1;
