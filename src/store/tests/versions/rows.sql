-- What the version before left in its file: a task that runs and one that is final, a submit on its way when the process
-- ended, an uncertain one, a claim, a key that the vendor accepted, a parked submit that waits.

INSERT INTO meta VALUES ('salt', zeroblob(32));
INSERT INTO tasks VALUES ('captchaai', '', '7', 'main', x'0404040404040404040404040404040404040404040404040404040404040404', 'image', NULL, 1200, 0, 1000, 1500);
INSERT INTO tasks VALUES ('captchaai', 'acme', '8', 'other', x'0505050505050505050505050505050505050505050505050505050505050505', 'image', 'shop', NULL, 1, 1000, 2000);
INSERT INTO intents VALUES (41, 'captchaai', 'acme', 'shop', 'image', 'solve', 'main', x'0909090909090909090909090909090909090909090909090909090909090909', 5000);
INSERT INTO uncertain VALUES (40, 'captchaai', 'acme', 'shop', 'image', 'submit', 'main', x'0909090909090909090909090909090909090909090909090909090909090909', 4000, 'reset',
    NULL, NULL, NULL);
INSERT INTO bad_key_answers VALUES (1, 100);
INSERT INTO good_keys VALUES (x'0404040404040404040404040404040404040404040404040404040404040404', 100);
INSERT INTO claims VALUES (x'0101010101010101010101010101010101010101010101010101010101010101', x'0909090909090909090909090909090909090909090909090909090909090909', 39, '7', NULL, 1000);
INSERT INTO counters VALUES ('own_id', 9000000000000123);
INSERT INTO parked VALUES (9000000000000123, 'captchaai', 'acme', NULL, 'image', 'money', 'waiting', NULL, NULL, 11, 900, 900);
INSERT INTO parked_requests VALUES (9000000000000123, 1, CAST('key=&a=1' AS BLOB), NULL, NULL, CAST('abc' AS BLOB));
