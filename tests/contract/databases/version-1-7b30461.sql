BEGIN TRANSACTION;
CREATE TABLE alias (
	owner VARCHAR(255) NOT NULL, 
	temp_id VARCHAR(36) NOT NULL, 
	store VARCHAR(512) NOT NULL, 
	record_id VARCHAR(255) NOT NULL, 
	record_id_is_int SMALLINT NOT NULL, 
	PRIMARY KEY (owner, temp_id)
);
CREATE TABLE nonce (
	owner VARCHAR(255) NOT NULL, 
	nonce VARCHAR(64) NOT NULL, 
	content VARCHAR(64) NOT NULL, 
	write_id VARCHAR(32) NOT NULL, 
	"key" VARCHAR(64), 
	expires_at DOUBLE NOT NULL, 
	PRIMARY KEY (owner, nonce, content)
);
CREATE TABLE owner (
	owner VARCHAR(255) NOT NULL, 
	epoch VARCHAR(32) NOT NULL, 
	settled_seq INTEGER NOT NULL, 
	pending INTEGER NOT NULL, 
	heir VARCHAR(255), 
	retry_after BLOB, 
	PRIMARY KEY (owner)
);
INSERT INTO "owner" VALUES('user:alice','',0,3,NULL,NULL);
CREATE TABLE schema_version (
	version INTEGER NOT NULL, 
	PRIMARY KEY (version)
);
INSERT INTO "schema_version" VALUES(1);
CREATE TABLE write (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	id VARCHAR(32) NOT NULL, 
	owner VARCHAR(255) NOT NULL, 
	collection VARCHAR(255) NOT NULL, 
	store VARCHAR(512) NOT NULL, 
	url TEXT NOT NULL, 
	params BLOB NOT NULL, 
	upstream VARCHAR(255) NOT NULL, 
	record_id VARCHAR(255) NOT NULL, 
	record_id_is_int SMALLINT NOT NULL, 
	kind VARCHAR(8) NOT NULL, 
	state VARCHAR(12) NOT NULL, 
	attributes BLOB, 
	base BLOB, 
	validator TEXT, 
	patch SMALLINT NOT NULL, 
	refers SMALLINT NOT NULL, 
	edits INTEGER NOT NULL, 
	created_at DOUBLE NOT NULL, 
	attempts INTEGER NOT NULL, 
	fence INTEGER NOT NULL, 
	not_before DOUBLE, 
	retry_after DOUBLE NOT NULL, 
	lease DOUBLE NOT NULL, 
	"key" VARCHAR(64), 
	key_since DOUBLE NOT NULL, 
	may_have_arrived SMALLINT NOT NULL, 
	method VARCHAR(16), 
	path TEXT, 
	body BLOB, 
	reason TEXT, 
	problem BLOB, 
	theirs BLOB, 
	settled_seq INTEGER NOT NULL, 
	settled_at DOUBLE NOT NULL
);
INSERT INTO "write" VALUES(1,'dfc67934f1193c9cbe560ca050b3cd27','user:alice','','/people','/people',X'7B7D','default','tmp-2741bcaef483422f81aa176c76c432d5',0,'create','queued',X'7B226E616D65223A22517565756564227D',NULL,NULL,0,0,1,1.79551369251321887975e+09,0,0,0.0,0.0,0.0,NULL,0.0,0,NULL,NULL,NULL,NULL,NULL,NULL,4611686018427387904,0.0);
INSERT INTO "write" VALUES(2,'cabe86ed9a9167eda8e40273a26ae10c','user:alice','','/people','/people',X'7B7D','default','tmp-7be56e186c084cb2be64691c504daaf6',0,'create','discarded',X'7B226E616D65223A22446973636172646564227D',NULL,NULL,0,0,1,1.79551369253220486645e+09,0,0,NULL,0.0,0.0,NULL,0.0,0,NULL,NULL,NULL,'Taken back before it was sent.',NULL,NULL,-1,1.79551369253505349156e+09);
INSERT INTO "write" VALUES(3,'09d5f7971e7a5bf607f9ffd29832da66','user:alice','','/people','/people',X'7B7D','default','1',1,'update','queued',X'7B226964223A312C226E616D65223A22416461222C22616765223A33377D',NULL,NULL,0,0,1,1.79551369254110407833e+09,0,0,0.0,0.0,0.0,NULL,0.0,0,NULL,NULL,NULL,NULL,NULL,NULL,4611686018427387904,0.0);
INSERT INTO "write" VALUES(4,'55871fee24a5f54583b00d0f94c2c9e8','user:alice','','/notes','/notes',X'7B7D','default','tmp-63f0f2fa73db44449b8ddfa33852e96d',0,'create','queued',X'7B2274657874223A2241206E6F7465222C2261626F7574223A22746D702D3237343162636165663438333432326638316161313736633736633433326435227D',NULL,NULL,0,1,1,1.79551369254800939558e+09,0,0,0.0,0.0,0.0,NULL,0.0,0,NULL,NULL,NULL,NULL,NULL,NULL,4611686018427387904,0.0);
CREATE UNIQUE INDEX write_by_id ON write (id);
CREATE INDEX write_by_record ON write (owner, record_id, settled_seq);
CREATE INDEX write_by_store ON write (owner, store, settled_seq);
CREATE INDEX write_by_state ON write (owner, settled_seq, state);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('write',4);
COMMIT;
