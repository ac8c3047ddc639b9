"""The list of mutants: what somebody might well write by mistake, the rule that it breaks, and who notices."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """One rule broken: in ``file``, ``old``, which must stand there exactly once, is replaced by ``new``.

    ``rule`` is what then no longer holds, with the section of DESIGN that says so, ``test`` the one that must fail.
    """

    name: str
    rule: str
    file: str
    old: str
    new: str
    test: str


_WRITING = "tests/integration/test_writing.py"
_DIALECTS = "tests/integration/test_dialects.py"
_BULK = "tests/integration/test_bulk.py"
_FLUSH = "tests/integration/test_flush.py"
_SCHEDULING = "tests/integration/test_scheduling.py"
_DOUBT = "tests/integration/test_doubt.py"
_RULES = "tests/integration/test_rules.py"
_PENDING_PAGE = "tests/integration/test_pending_page.py"
_BACKBONE = "tests/integration/test_backbone.py"
_EXTENSION = "tests/integration/test_extension.py"
_LANES = "tests/concurrency/test_lanes.py"
_OWNERS = "tests/concurrency/test_owners.py"
_TOGETHER = "tests/contract/test_outbox_together.py"
_BASES = "tests/contract/test_bases.py"
_OUTBOX = "tests/contract/test_outbox_writes.py"

DURABLE = [
    Mutant(
        "commit after send",
        "The intent is committed before a byte goes upstream (§3.1)",
        "flask_dualstorage/sync/writing.py",
        """\
        claimed = _claim_at_once(engine, change, joined, declared, call) if credentials else None
""",
        """\
        claimed = _claim_at_once(engine, change, joined, declared, call) if credentials else None
        if claimed is not None and credentials is not None:
            outcome = send(engine, claimed, declared, credentials.auth, call)
            return _result(declared, settle(engine, change, claimed, outcome, declared, own_call=True), outcome)
""",
        "tests/integration/test_kill.py::test_a_save_that_was_waiting_is_there_after_the_restart_and_is_applied_once",
    ),
    Mutant(
        "disk not waited for",
        "A power cut loses no accepted write: SQLite's synchronous=FULL (§3.1, §5)",
        "flask_dualstorage/storage/database.py",
        "PRAGMA synchronous = FULL",
        "PRAGMA synchronous = NORMAL",
        "tests/unit/storage/test_sqlite_outbox.py::test_it_writes_ahead_and_reaches_the_disk_before_it_answers",
    ),
    Mutant(
        "no owner lock, SQLite",
        "Every transaction that changes an owner's writes locks first: BEGIN IMMEDIATE (§4.4)",
        "flask_dualstorage/storage/database.py",
        'connection.execute("BEGIN IMMEDIATE")',
        'connection.execute("BEGIN")',
        f"{_RULES}::test_no_two_decide_on_one_owners_writes_at_once[sqlite]",
    ),
    Mutant(
        "no owner lock, PostgreSQL",
        "Every transaction that changes an owner's writes locks the owner's row first (§4.4)",
        "flask_dualstorage/storage/outbox.py",
        'lambda dialect: _ROW if dialect == "sqlite" else _ROW.with_for_update()',
        "_ROW",
        f"{_RULES}::test_no_two_decide_on_one_owners_writes_at_once[postgresql]",
    ),
    Mutant(
        "the process's clock, PostgreSQL",
        "Server databases compare leases and not_before by their own clock (§5)",
        "flask_dualstorage/storage/database.py",
        """\
        if self.is_sqlite:
            return self._clock()
        return float(self.read(_SERVER_TIME, {})[0][0])
""",
        """\
        return self._clock()
""",
        f"{_TOGETHER}::test_time_is_the_servers_own_where_there_is_one[postgresql]",
    ),
    Mutant(
        "prune too early",
        "Applied writes outlive every envelope that is older than they are (§4.4)",
        "flask_dualstorage/sync/engine.py",
        "return max(self.config.keep_applied, self.config.cache_timeout + deadline)",
        "return self.config.keep_applied",
        f"{_RULES}::test_an_applied_write_is_to_be_seen_as_long_as_any_copy_that_is_older",
    ),
]

SENT_ONCE = [
    Mutant(
        "no key sent",
        "A write goes with its idempotency key, the first time too (§3.2)",
        "flask_dualstorage/sync/sending.py",
        "if key_header and write.key:",
        "if key_header and write.may_have_arrived:",
        f"{_BACKBONE}::TestModelRows::test_writes_carry_an_idempotency_key",
    ),
    Mutant(
        "a new key at each send",
        "A write with a key is frozen: same key, same bytes (§4.4)",
        "flask_dualstorage/sync/sending.py",
        "headers[key_header] = write.key",
        "headers[key_header] = new_id()",
        f"{_WRITING}::TestInDoubt::test_an_update_or_delete_goes_again_with_the_same_key_and_bytes",
    ),
    Mutant(
        "a frozen head is edited",
        "A new edit beside a frozen head makes a tail (§4.4)",
        "flask_dualstorage/policy/coalescing.py",
        "if tail.frozen or apart or not (fold or _refused(tail)):",
        "if apart or not (fold or _refused(tail)):",
        f"{_LANES}::TestAnEditDuringAFlush::test_of_what_is_being_sent_is_a_tail_and_goes_after_it",
    ),
    Mutant(
        "lease ignored at claim",
        "A write that is being sent is not claimed again before its lease is over (§4.4)",
        "flask_dualstorage/policy/planning.py",
        "if is_held(write.retry_after, now, LONGEST_RETRY_AFTER) or is_held(write.lease, now, LONGEST_LEASE):",
        "if is_held(write.retry_after, now, LONGEST_RETRY_AFTER):",
        f"{_LANES}::TestTwoFlushesAtOnce::test_send_each_write_once",
    ),
    Mutant(
        "no fence check",
        "A late answer that does not say applied needs the fence it was sent under (§4.4)",
        "flask_dualstorage/sync/settling.py",
        "if now.fence != sent.fence or now.state is not State.SENDING:",
        "if now.state is not State.SENDING:",
        f"{_LANES}::TestALateAnswerAfterTheLeaseWasLost::test_that_says_anything_else_changes_nothing",
    ),
    Mutant(
        "a late success is thrown away",
        "An applied answer settles the write with its key whatever the fence (§4.4)",
        "flask_dualstorage/sync/settling.py",
        "if outcome.meaning is Meaning.APPLIED and now.key == sent.key:",
        "if outcome.meaning is Meaning.APPLIED and now.fence == sent.fence:",
        f"{_RULES}::test_a_late_success_settles_a_write_that_another_has_taken_over",
    ),
    Mutant(
        "in-doubt create resent blindly",
        "A create in doubt is looked for before it goes again, unless keys are honoured (§3.2, §4.4)",
        "flask_dualstorage/policy/settling.py",
        'if write.kind is not Kind.CREATE or write.method == "PUT":',
        "if write.kind is not Kind.CREATE or write.key is not None:",
        f"{_BACKBONE}::TestModelRows::test_a_create_in_doubt_is_not_blindly_sent_again",
    ),
    Mutant(
        "a doubt ends with the state",
        "What may have arrived is in doubt, though it is queued: a create is looked for (§3.2, §4.4)",
        "flask_dualstorage/policy/settling.py",
        "return write.may_have_arrived and not resend_is_safe",
        "return write.state is State.SENDING and not resend_is_safe",
        f"{_DOUBT}::TestTheDoubtLasts::test_when_a_gateway_gave_up_waiting",
    ),
    Mutant(
        "an equal create's record taken",
        "One record is made by one write: what this owner made by others is not it (§3.1, §4.4)",
        "flask_dualstorage/policy/doubt.py",
        " and str(record.get(id_attribute)) not in made",
        "",
        f"{_DOUBT}::TestWhoseRecordIsIt::test_not_that_of_an_equal_create_just_before",
    ),
    Mutant(
        "one record for two creates",
        "One record is made by one write, whoever found it (§3.1, §4.4)",
        "flask_dualstorage/sync/settling.py",
        "    outcome = _believed(change, now, outcome)\n",
        "",
        f"{_DOUBT}::TestWhoseRecordIsIt::test_not_twice_what_a_hook_finds",
    ),
    Mutant(
        "one lease for the look and the send",
        "A write is sent under a lease that outlasts the send (§4.4)",
        "flask_dualstorage/sync/looking.py",
        "if search.trace is Trace.NOT_MADE and not renew(engine, write, deadline_of(engine, declared, call)):",
        "if search.trace is Trace.NOT_MADE and not write.lease:",
        f"{_DOUBT}::TestOneLeaseEach::test_for_the_list_and_the_create",
    ),
    Mutant(
        "the first page taken for the list",
        "A list too long to read is the owner's to judge (§4.4)",
        "flask_dualstorage/sync/looking.py",
        "return is_whole(heard.headers, heard.body, heard.count)",
        "return True",
        f"{_DOUBT}::TestTheWholeList::test_the_first_page_of_one_is_no_proof",
    ),
    Mutant(
        "a forgotten key is trusted",
        "After the declared lifetime of an upstream's keys a create is looked for, not resent (§4.4)",
        "flask_dualstorage/policy/settling.py",
        "return now - write.key_since < rules.honours_keys",
        "return rules.honours_keys > 0",
        f"{_WRITING}::TestInDoubt::test_but_not_after_the_upstream_has_forgotten_the_key",
    ),
    Mutant(
        "attempts without end",
        "Attempts in doubt are bounded (MAX_ATTEMPTS), then the write is its owner's (§4.7)",
        "flask_dualstorage/policy/settling.py",
        " and doubts < rules.max_attempts",
        "",
        f"{_WRITING}::TestInDoubt::test_so_many_times_and_then_it_is_its_owners",
    ),
    Mutant(
        "key dropped although it may have arrived",
        "The key is dropped only when no byte of any send can have arrived (§4.4)",
        "flask_dualstorage/policy/settling.py",
        """\
    return write if write.may_have_arrived or write.key_stays else thaw(write)
""",
        """\
    return thaw(write)
""",
        "tests/unit/policy/test_settling.py::test_a_key_that_may_have_arrived_once_is_kept_when_a_later_send_did_not",
    ),
    Mutant(
        "a dead sender is taken for one that sent nothing",
        "A write whose lease expired may have arrived: it keeps its key (§4.4)",
        "flask_dualstorage/sync/sending.py",
        "arrived = claimed.may_have_arrived or in_doubt",
        "arrived = claimed.may_have_arrived",
        f"{_RULES}::test_what_a_dead_process_may_have_sent_keeps_its_key_through_an_outage",
    ),
    Mutant(
        "thaw on unsent missing",
        "What can not have arrived goes as a new request, with what was edited since (§4.4)",
        "flask_dualstorage/policy/settling.py",
        """\
    if outcome.unsent:
        return _thaw_unsent(queued)
""",
        """\
    if outcome.unsent:
        return queued
""",
        f"{_WRITING}::TestNotWithdrawn::test_refused_connections_drop_the_key",
    ),
    Mutant(
        "nonce of a form ignored",
        "A form that is sent twice is one write (§8)",
        "flask_dualstorage/sync/writing.py",
        "if call.nonce is None:",
        "if call.nonce is None or call.remote:",
        f"{_WRITING}::TestForms::test_double_clicked_online_it_is_one_record",
    ),
    Mutant(
        "what a form made is pruned before the form",
        "A form that is sent twice is one write, as long as the form is taken (§8)",
        "flask_dualstorage/storage/outbox.py",
        "self._connection.run(_PRUNE_SETTLED,",
        "self._connection.run(_PRUNE,",
        "tests/integration/test_forms.py::TestRemembered::test_as_long_as_the_form_is_taken",
    ),
    Mutant(
        "an adopted write in doubt goes last",
        "A frozen write is the head of its lane, adopted or not (§4.4)",
        "flask_dualstorage/sync/adopting.py",
        "    second.reorder([first.give(write, second), *behind])\n",
        "    first.give(write, second)\n",
        "tests/integration/test_adopting.py::TestAVisitorsWriteInDoubt::test_does_not_undo_the_accounts_own_edit[True]",
    ),
    Mutant(
        "a visitor's stale tab put on what was made last",
        "What an owner applied is not undone by a tab that knows it not, adopted or not (§4.4)",
        "flask_dualstorage/policy/settling.py",
        "    return max([*own[-1:], *handed_over], key=lambda each: (each.settled_at, each.settled_seq))\n",
        "    return done[-1]\n",
        "tests/machine/test_regressions.py"
        "::test_a_visitors_stale_tab_does_not_undo_what_their_account_applied_after_the_log_in",
    ),
    Mutant(
        "form forgotten when its record is numbered",
        "A form that is sent twice is one write, whichever of its record's ids the app has by then (§8)",
        "flask_dualstorage/sync/writing.py",
        " or _used_before(change, target, edit, nonce)",
        "",
        f"{_WRITING}::TestForms::test_sent_again_after_the_record_above_was_numbered",
    ),
]

ANSWERS = [
    Mutant(
        "redirect of a write followed after 301",
        "A POST that follows 301 as a GET is a lost write: only 307 and 308 are followed (§4.7)",
        "flask_dualstorage/upstream/client.py",
        "_REDIRECTS_OF_WRITES = frozenset({307, 308})",
        "_REDIRECTS_OF_WRITES = frozenset({301, 302, 307, 308})",
        f"{_WRITING}::TestAccepted::test_others_are_not_for_the_write_would_be_lost",
    ),
    Mutant(
        "read timeout counted as unsent",
        "A read timeout leaves the write in doubt (§4.7)",
        "flask_dualstorage/policy/outcomes.py",
        "if failure.fault in (Fault.UNSENT, Fault.NO_CREDENTIAL):",
        "if failure.fault is not Fault.TOO_LARGE:",
        f"{_BACKBONE}::TestReadmeOfflineDetection::test_no_answer_to_a_write_is_in_doubt",
    ),
    Mutant(
        "offline code of a success not taken as offline",
        "A configured offline code is one, even a 2xx, as in Backbone (§4.7)",
        "flask_dualstorage/policy/outcomes.py",
        "    if status in offline_codes:",
        "    if status in offline_codes and status >= 400:",
        f"{_BACKBONE}::TestReadmeOfflineDetection::test_even_a_success_may_mean_offline",
    ),
    Mutant(
        "Retry-After passed over by a sync",
        "Nothing passes over the wait that the upstream asked for (§4.7)",
        "flask_dualstorage/policy/planning.py",
        "if is_held(write.retry_after, now, LONGEST_RETRY_AFTER) or",
        "if (is_held(write.retry_after, now, LONGEST_RETRY_AFTER) and not explicit) or",
        "tests/unit/policy/test_planning.py::test_a_write_is_due",
    ),
    Mutant(
        "Retry-After forgotten by what was not queued",
        "The wait that the upstream asked for is for all of the owner's writes (§4.7)",
        "flask_dualstorage/sync/sending.py",
        "    if is_held(asked, change.now, LONGEST_RETRY_AFTER):\n",
        "    if asked > change.now and not explicit:\n",
        f"{_SCHEDULING}::TestAnOwnerThatWasAskedToWait::test_not_what_had_been_refused_and_is_edited",
    ),
    Mutant(
        "a scheduled flush passes over the backoff",
        "Only who asks for it passes over our own backoff (§4.7)",
        "flask_dualstorage/cli.py",
        "explicit=not everybody)",
        "explicit=True)",
        f"{_SCHEDULING}::test_a_scheduled_flush_minds_the_backoff_and_an_asked_for_one_does_not",
    ),
    Mutant(
        "404 on a delete taken as a refusal",
        "What is gone already is deleted: 404 and 410 on a delete are applied (§4.7)",
        "flask_dualstorage/policy/outcomes.py",
        "case Kind.DELETE, 404 | 410:",
        "case Kind.DELETE, 410:",
        f"{_BACKBONE}::TestModelRows::test_destroy_of_what_is_gone_already_counts_as_gone",
    ),
    Mutant(
        "a flush goes on after a 401",
        "The flush stops at a 401: the owner's queue waits for fresh credentials (§4.7)",
        "flask_dualstorage/sync/flush.py",
        "if outcome.meaning in (Meaning.UNAUTHORIZED, Meaning.NOT_NOW) or outcome.no_credential:",
        "if outcome.meaning is Meaning.NOT_NOW or outcome.no_credential:",
        f"{_WRITING}::TestCredentials::test_after_a_401_in_a_flush_writes_wait_and_it_is_no_attempt",
    ),
    Mutant(
        "weak ETag sent as If-Match",
        "Only a strong validator goes out as If-Match (§4.8)",
        "flask_dualstorage/policy/outcomes.py",
        'return etag if etag and not etag.startswith("W/") else None',
        "return etag or None",
        "tests/unit/policy/test_outcomes.py::test_only_a_strong_validator_may_go_out_as_if_match",
    ),
    Mutant(
        "withdrawn although another edit joined",
        "A refused write is withdrawn only where it holds this call's edit alone (§4.3)",
        "flask_dualstorage/sync/settling.py",
        "return failed and write.edits == 1 and not write.may_have_arrived and not _is_referred_to(change, write)",
        "return failed and not write.may_have_arrived and not _is_referred_to(change, write)",
        f"{_WRITING}::TestNotWithdrawn::test_where_it_had_folded_into_an_earlier_edit",
    ),
    Mutant(
        "withdrawn although its tail waits",
        "A refused write is not withdrawn when another edit joined meanwhile (§4.3)",
        "flask_dualstorage/sync/settling.py",
        "if own_call and tail is None and _may_be_withdrawn(change, now, outcome):",
        "if own_call and _may_be_withdrawn(change, now, outcome):",
        f"{_WRITING}::TestNotWithdrawn::test_where_another_edit_joined_meanwhile",
    ),
    Mutant(
        "offline codes never open the breaker",
        "Unreachable outcomes and offline codes count for the breaker (§6)",
        "flask_dualstorage/policy/outcomes.py",
        "return answer.status_code not in offline_codes",
        "return True",
        "tests/integration/test_answers.py::test_in_a_flush",
    ),
    Mutant(
        "breaker never opens",
        "Past the failures that open the breaker, a page that has a copy opens no connection (§3.6)",
        "flask_dualstorage/sync/engine.py",
        "            self.breaker.failed()\n",
        "            self.online = False\n",
        f"{_WRITING}::TestBreaker::test_opens_after_three_failures_and_then_nothing_is_tried",
    ),
    Mutant(
        "connect failure not remembered in the request",
        "Within one request the first connect failure holds for the rest of it (§6)",
        "flask_dualstorage/sync/engine.py",
        'if self.offline or (memo is not None and name in memo.get("unreachable", ())):',
        "if self.offline:",
        f"{_WRITING}::TestBreaker::test_within_one_page_the_first_refused_connection_holds",
    ),
]

SPOKEN = [
    Mutant(
        "an existing record taken for applied",
        "A create answered with the record that was there is compared, not taken for applied (§4.7)",
        "flask_dualstorage/policy/outcomes.py",
        '    "existing": _existing,\n',
        '    "existing": _applied,\n',
        f"{_DIALECTS}::test_a_create_of_an_id_that_exists_answered_with_the_old_record_is_not_taken_for_applied",
    ),
    Mutant(
        "a Location that is wrong believed",
        "A Location alone is read, and another record that it leads to is not ours (§4.7)",
        "flask_dualstorage/policy/outcomes.py",
        "return has_all(record, sent.changed) or str(record.get(sent.id_attribute)) not in known_ids",
        "return True",
        f"{_DIALECTS}::test_a_location_that_is_wrong_makes_no_other_record_ours",
    ),
    Mutant(
        "a stale version kept after an answer without one",
        "An applied answer without a validator clears the record's (§4.4)",
        "flask_dualstorage/policy/outcomes.py",
        "        record.pop(sent.dialect.version_from, None)\n",
        "        pass\n",
        f"{_DIALECTS}::test_a_version_that_an_answer_does_not_tell_is_not_known_any_more",
    ),
    Mutant(
        "read-only fields sent",
        "What the dialect calls read-only is never sent (§6)",
        "flask_dualstorage/policy/envelopes.py",
        "left_out = {*dialect.read_only, dialect.version_from}",
        "left_out = {dialect.version_from}",
        f"{_DIALECTS}::test_read_only_fields_are_shown_and_never_sent",
    ),
    Mutant(
        "an override does not reach reads",
        "A bad credential read as 200 and an empty list wipes no copy (§4.2)",
        "flask_dualstorage/policy/outcomes.py",
        'meaning = _READ_AS.get(named or "") or',
        'meaning = (_READ_AS.get("") if named else None) or',
        f"{_DIALECTS}::test_an_empty_list_for_a_bad_credential_wipes_no_copy",
    ),
    Mutant(
        "PUT-to-create overwrites",
        "A create by PUT goes with If-None-Match: *, so that it replaces nothing (§3.2)",
        "flask_dualstorage/upstream/dialects.py",
        '            headers["If-None-Match"] = "*"\n',
        "            pass\n",
        f"{_DIALECTS}::test_a_create_by_put_goes_again_after_an_answer_that_was_lost",
    ),
    Mutant(
        "a duplicate of ours taken for a refusal",
        "A refusal of what may have arrived is looked into where the id was ours (§4.4)",
        "flask_dualstorage/sync/understanding.py",
        "case Meaning.REJECTED if sent.kind is Kind.CREATE and sending.write.may_have_arrived:",
        "case Meaning.REJECTED if sent.kind is Kind.UPDATE and sending.write.may_have_arrived:",
        f"{_DIALECTS}::test_a_refusal_of_a_duplicate_id_is_no_refusal_of_our_own_record",
    ),
    Mutant(
        "an item's key missing",
        "In a bulk request each write has its own idempotency key, as it would alone (§6, §3.2)",
        "flask_dualstorage/upstream/batches.py",
        '"headers": dict(request.headers)}',
        '"headers": {name: text for name, text in request.headers.items() if name != "Idempotency-Key"}}',
        f"{_BULK}::test_each_goes_in_it_exactly_as_it_would_go_alone",
    ),
    Mutant(
        "a short answer taken as applied",
        "Where a bulk answer has another number of answers, none of its writes is taken for answered (§6, §4.7)",
        "flask_dualstorage/upstream/batches.py",
        "    if len(items) != count:\n",
        "    items = items + [{**items[0]}] * (count - len(items)) if items else items\n    if len(items) != count:\n",
        f"{_BULK}::test_where_it_can_not_be_told_whose_answer_is_whose_all_are_in_doubt",
    ),
    Mutant(
        "a refusal of the batch taken for its writes'",
        "A bulk endpoint that is not there, or takes less, refuses no write: each goes alone (§6)",
        "flask_dualstorage/sync/together.py",
        "_FOR_EACH = frozenset({Meaning.UNREACHABLE, Meaning.NOT_NOW, Meaning.UNAUTHORIZED, Meaning.IN_DOUBT})",
        "_FOR_EACH = frozenset(Meaning)",
        f"{_BULK}::test_a_refusal_of_the_batch_is_none_of_its_writes",
    ),
    Mutant(
        "a batch that was undone believed",
        "A success that the same answer takes back is none: Kinto undoes a batch on a 409 (§6, §4.7)",
        "flask_dualstorage/upstream/known.py",
        'return [None if undone and each["status"] < 300 else each for each in answers]',
        "return answers",
        f"{_BULK}::test_a_batch_of_kinto_that_a_409_undid_has_made_nothing",
    ),
    Mutant(
        "what may have arrived goes together again",
        "A write in doubt goes alone: looked for first, and away from what made a whole batch fail (§4.4)",
        "flask_dualstorage/sync/together.py",
        "    in_doubt = write.may_have_arrived or write.state is not State.QUEUED\n",
        "    in_doubt = False\n",
        f"{_BULK}::test_creates_in_doubt_are_looked_for_each_for_itself",
    ),
]

ORDER = [
    Mutant(
        "lanes by newest",
        "First in, first out within a lane (§3.3)",
        "flask_dualstorage/policy/references.py",
        "for write in sorted(writes, key=lambda write: write.seq):",
        "for write in sorted(writes, key=lambda write: write.seq, reverse=True):",
        f"{_BACKBONE}::TestReadmeStory::test_writes_of_one_record_go_in_the_order_they_were_made",
    ),
    Mutant(
        "a tail overtakes its head",
        "A write waits for the one before it in its lane (§3.3)",
        "flask_dualstorage/policy/references.py",
        "waits = [] if before is None else [before]",
        "waits = []",
        f"{_WRITING}::TestTails::test_while_a_create_is_in_doubt_its_tail_waits",
    ),
    Mutant(
        "delete of a parent before its children's",
        "A parent's delete goes after its children's (§3.3)",
        "flask_dualstorage/policy/references.py",
        "waits += earlier.nested.get(_place(write), ())",
        "pass",
        f"{_FLUSH}::TestOrder::test_even_if_it_is_the_one_that_was_asked_for",
    ),
    Mutant(
        "tail not rebased",
        "Head applied: the tail is rebased on the answer (§4.4)",
        "flask_dualstorage/policy/settling.py",
        "return tail._replace(base=record, attributes=wanted, validator=validator)",
        "return tail",
        f"{_WRITING}::TestTails::test_it_waits_for_its_head_and_is_rebased_on_the_answer",
    ),
    Mutant(
        "the latest base kept",
        "Edits that fold keep the earliest base: equal to it, they vanish (§4.5)",
        "flask_dualstorage/policy/coalescing.py",
        "Edit(Kind.UPDATE, wanted, base=tail.base, validator=tail.validator, patch=patch)",
        "Edit(Kind.UPDATE, wanted, base=edit.base, validator=tail.validator, patch=patch)",
        "tests/unit/policy/test_coalescing.py"
        "::test_an_unfrozen_lane_holds_at_most_one_write_and_it_keeps_the_earliest_base",
    ),
    Mutant(
        "vanishing leaves nested writes",
        "When a create vanishes, writes of collections nested under it are discarded with it (§4.5)",
        "flask_dualstorage/sync/enqueuing.py",
        "for nested in change.under(path):",
        'for nested in change.under(path + "/"):',
        f"{_FLUSH}::TestVanishing::test_what_is_nested_under_it_goes_along_and_is_listed",
    ),
    Mutant(
        "a write that is being sent is discarded",
        "Discarding a sending write is refused (§4.4)",
        "flask_dualstorage/sync/deciding.py",
        "if write.state is State.SENDING:",
        "if write.state is State.SENDING and not write.lease:",
        f"{_WRITING}::TestAccepted::test_what_is_being_sent_can_not_be_discarded_or_retried",
    ),
]

IDS = [
    Mutant(
        "temporary id sent upstream",
        "No temporary id ever reaches the upstream (§4.6)",
        "flask_dualstorage/upstream/dialects.py",
        "    check_no_temp_id(path, body)\n",
        "",
        f"{_RULES}::test_no_temporary_id_reaches_the_upstream_through_a_hook_of_the_apps",
    ),
    Mutant(
        "a child does not wait for its parent's id",
        "References are dependencies until they are bound (§4.6)",
        "flask_dualstorage/policy/references.py",
        "        if write.refers:\n            waits",
        "        if write.refers and write.frozen:\n            waits",
        f"{_FLUSH}::TestOrder::test_a_record_goes_after_those_it_refers_to",
    ),
    Mutant(
        "alias not kept",
        "Aliases keep get(temporary id) and old links working, for good (§4.6)",
        "flask_dualstorage/sync/numbering.py",
        "    change.add_alias(temp_id, done.record_id)\n",
        "",
        f"{_FLUSH}::TestAliases::test_in_get_and_load",
    ),
    Mutant(
        "referrers not bound",
        "Applied: alias, tail and referrers are bound in the same transaction (§4.4)",
        "flask_dualstorage/sync/settling.py",
        "        bind(change, change.referring(), numbered)\n",
        "        pass\n",
        f"{_FLUSH}::TestOrder::test_a_record_goes_after_those_it_refers_to",
    ),
    Mutant(
        "nested URL not bound",
        "A temporary id in the URL of a nested collection is a reference too (§4.6)",
        "flask_dualstorage/sync/sending.py",
        "        url=references.bind_text(write.url, real),\n",
        "",
        f"{_FLUSH}::TestOrder::test_a_chain_of_nested_records",
    ),
    Mutant(
        "reference to a foreign temporary id accepted",
        "A temporary id that this owner never made is a ValidationFailed (§4.6)",
        "flask_dualstorage/sync/enqueuing.py",
        '        raise ValidationFailed({temp_id: "refers to a record that was never made here."})',
        "        return",
        f"{_FLUSH}::TestAliases::test_they_are_the_owners_own",
    ),
]

READING = [
    Mutant(
        "epoch not compared",
        "An envelope of another epoch is a miss (§5)",
        "flask_dualstorage/sync/subject.py",
        """\
        if envelope is not None and envelope.epoch != state.epoch:
            return Here(None, self.state(ALL_KNOWN), None)
""",
        "",
        f"{_EXTENSION}::TestForget::test_copies_are_forgotten_in_every_worker_and_pending_writes_stay",
    ),
    Mutant(
        "envelope replaced by one that began earlier",
        "An envelope never replaces one that began later (§5)",
        "flask_dualstorage/storage/base.py",
        "if is_rival and newer(envelope, there) is not envelope:",
        "if there == envelope:",
        f"{_BACKBONE}::TestReadingStep3::test_an_answer_that_comes_late_replaces_no_copy_that_was_asked_for_later",
    ),
    Mutant(
        "later told by the clock",
        "Which fetch began later is told by numbers, not clocks (§4.4)",
        "flask_dualstorage/policy/views.py",
        "(envelope.began, envelope.asked_at)",
        "(envelope.asked_at, envelope.began)",
        "tests/unit/policy/test_views.py::test_the_newer_of_two_copies_is_the_one_whose_request_began_later",
    ),
    Mutant(
        "settled_seq not compared",
        "A write lies over the base until a fetch that began later replaces it (§4.4)",
        "flask_dualstorage/storage/outbox.py",
        '_since = _write.c.settled_seq > bindparam("since")',
        '_since = _write.c.settled_seq >= bindparam("since")',
        f"{_OUTBOX}::test_a_store_shows_what_was_settled_since_and_all_that_is_not[sqlite]",
    ),
    Mutant(
        "JSON true equals 1",
        "Values are compared as JSON does (§4.5)",
        "flask_dualstorage/policy/values.py",
        "return isinstance(one, bool) is isinstance(other, bool)",
        "return True",
        "tests/unit/policy/test_values.py::test_values_are_compared_as_json_does",
    ),
]

OWNERS = [
    Mutant(
        "owner missing in a cache key",
        "No cached value of one owner is ever used for another (§3.5)",
        "flask_dualstorage/storage/base.py",
        "{owner}{chr(0)}{store}{chr(0)}{query}",
        "{store}{chr(0)}{query}",
        f"{_BASES}::test_owners_stores_and_queries_never_share_a_copy",
    ),
    Mutant(
        "owner missing in a WHERE",
        "No pending write of one owner is ever used for another (§3.5)",
        "flask_dualstorage/storage/outbox.py",
        ".where(_same(_write.c.owner), _same(_write.c.id))",
        ".where(_same(_write.c.id))",
        f"{_OUTBOX}::test_no_read_gives_another_owners_write[sqlite]",
    ),
    Mutant(
        "owner missing in a JOIN",
        "No pending write of one owner is ever used for another (§3.5)",
        "flask_dualstorage/storage/outbox.py",
        "and_(_write.c.owner == _owner.c.owner, *conditions)",
        "and_(*conditions)",
        f"{_EXTENSION}::TestAdopt::test_the_first_sees_nothing_of_the_seconds",
    ),
    Mutant(
        "cookie jar used",
        "No upstream cookie of one owner is ever used for another (§3.5, §6)",
        "flask_dualstorage/upstream/client.py",
        "            return adapter.exchange(prepared, self._verify, self._proxies)\n",
        """\
            jar = self.__dict__.setdefault("_jar", RequestsCookieJar())
            prepared.headers.pop("Cookie", None)
            prepared.prepare_cookies(jar)
            answer = adapter.exchange(prepared, self._verify, self._proxies)
            for each in answer.headers.get("Set-Cookie", "").split(", "):
                jar.set(*each.partition(";")[0].partition("=")[::2])
            return answer
""",
        f"{_EXTENSION}::TestUpstreamAuth::test_no_owner_is_sent_with_anothers_credential_or_cookie",
    ),
    Mutant(
        ".netrc used",
        ".netrc never overrides an owner's credential (§6)",
        "flask_dualstorage/upstream/client.py",
        """\
    if auth is None:
        return prepared
""",
        """\
    auth = auth or requests.utils.get_netrc_auth(prepared.url)
    if auth is None:
        return prepared
""",
        "tests/unit/upstream/test_client_credentials.py::test_netrc_is_ignored",
    ),
    Mutant(
        "adoption not followed",
        "Later writes of a storage that was adopted follow to its new owner (§3.5)",
        "flask_dualstorage/storage/outbox.py",
        "if change.heir is None or not follow:",
        "if change.heir is None or follow:",
        f"{_EXTENSION}::TestAdopt::test_later_writes_of_the_first_follow",
    ),
    Mutant(
        "credential of the first owner used after adoption, in a save",
        "No credential of one owner is ever used for another (§3.5)",
        "flask_dualstorage/sync/writing.py",
        'credentials, reason = None, "It is kept for the account that took these changes over."',
        'reason = "It is kept for the account that took these changes over."',
        f"{_EXTENSION}::TestAdopt::test_later_writes_of_the_first_follow",
    ),
    Mutant(
        "credential of the first owner used after adoption, in a flush",
        "No credential of one owner is ever used for another (§3.5)",
        "flask_dualstorage/sync/flush.py",
        "if change.owner != self.owner:",
        "if change.owner != self.owner and not self.explicit:",
        f"{_OWNERS}::TestAdopting::test_while_a_flush_of_it_runs_the_rest_goes_with_the_second_owners_credential",
    ),
]

_FRESHENING = "flask_dualstorage/sync/freshening.py"
_AFTER = "tests/integration/test_after.py"

FRESHNESS = [
    Mutant(
        "read twice in one web request",
        "The same list asked for twice in one request is read once (§4.2)",
        _FRESHENING,
        "if known is None or not _will_do(subject, known):",
        "if known is None or known.source:",
        "tests/integration/test_freshness.py::TestWithinOneRequest::test_a_list",
    ),
    Mutant(
        "another worker's claim not minded",
        "Of workers that find a copy stale at once, one asks (§4.2)",
        _FRESHENING,
        """\
        if not is_mine:
            return reading.from_here(subject, here, REFRESHING)
""",
        "",
        "tests/concurrency/test_sharing.py::TestWorkers::test_one_asks_and_the_others_give_the_copy",
    ),
    Mutant(
        "probe made by the page",
        "After the cooldown a page that has a copy serves it, and the probe runs after the response (§6)",
        _FRESHENING,
        "if breaker.wants_probe():",
        "if breaker.wants_probe() and options.max_age == 0:",
        f"{_AFTER}::TestTheProbe::test_no_page_with_a_copy_opens_a_connection",
    ),
    Mutant(
        "copy kept that its owner may not see any more",
        "401 and 403 never fall back to a cache (§4.2)",
        _FRESHENING,
        "error.status in (401, 403):",
        "error.status == 401:",
        f"{_AFTER}::TestStaleWhileRevalidate::test_what_the_owner_may_not_see_any_more_is_no_copy",
    ),
    Mutant(
        "promise believed for ever",
        "Where nothing runs after a response, a page asks itself: the upstream is found again (§6)",
        "flask_dualstorage/sync/after.py",
        "if first is not None and now - self._promised[first] >= OVERDUE:",
        "if first is not None and self._promised[first] > now:",
        f"{_AFTER}::TestTheProbe::test_a_promise_that_is_not_kept_is_done_by_a_page",
    ),
    Mutant(
        "due writes sent again after every page",
        "An owner's due writes go out after a response, at most once in a few seconds (§7)",
        "flask_dualstorage/sync/autosync.py",
        "if last is not None and now - last < EVERY:",
        "if last is not None and now < last:",
        "tests/integration/test_auto_sync.py::TestWhatIsDueGoesOut::test_once_in_a_few_seconds",
    ),
]

_PAGES = "tests/integration/test_pages.py"

PAGES = [
    Mutant(
        "a page takes the place of the whole list",
        "A list that was not complete (a page, a filter) is its own query and never prunes (§4.2)",
        "flask_dualstorage/sync/subject.py",
        'return params if self.pages is None or self.fetch.all_pages else f"?{params}"',
        "return params",
        f"{_PAGES}::TestEveryStyle::test_a_page_fetched_alone_takes_nothing_from_the_whole_list[link]",
    ),
    Mutant(
        "what a list that shrank passed over is taken for deleted",
        "A list that was not complete (a page, a filter) is its own query and never prunes (§4.2)",
        "flask_dualstorage/sync/paging.py",
        "gaps = total is not None and ((first is not None and total < first) or len(reading.records) < total)",
        "gaps = False",
        f"{_PAGES}::test_what_was_passed_over_in_a_list_that_shrank_is_not_taken_for_deleted[link]",
    ),
    Mutant(
        "a short page ends a list",
        "A cut list is never taken for a complete one (§4.2)",
        "flask_dualstorage/policy/paging.py",
        "return total is None or collected < total",
        "return collected < total if total is not None else per_page is None or count >= per_page",
        f"{_PAGES}::test_without_a_total_an_empty_page_is_the_end[offset]",
    ),
    Mutant(
        "a next page on another origin is followed",
        "No credential goes to another origin (§6)",
        "flask_dualstorage/policy/paging.py",
        "    if not same:\n",
        "    if not parts.hostname:\n",
        "tests/unit/policy/test_paging.py::test_a_next_page_elsewhere_is_never_asked_for",
    ),
    Mutant(
        "a header's page is asked for with a condition",
        "A 304 of a page says nothing of what a header told (§4.2)",
        "flask_dualstorage/sync/reading.py",
        "if envelope is None or (subject.pages is not None and not subject.pages.told_in_body):",
        "if envelope is None:",
        f"{_PAGES}::test_a_page_whose_next_one_is_named_in_a_header_is_not",
    ),
    Mutant(
        "pending records in every list",
        "Pending writes show in the lists where they belong (§5)",
        "flask_dualstorage/sync/subject.py",
        "belongs=None if matches is None else lambda record: matches(record, params),",
        "belongs=None,",
        "tests/integration/test_queries.py::TestAFilteredList::"
        "test_a_new_record_shows_where_it_matches_and_nowhere_else",
    ),
    Mutant(
        "new records on every page",
        "New records stand last (§5)",
        "flask_dualstorage/sync/subject.py",
        "takes_new=not page.has_next,",
        "takes_new=True,",
        "tests/integration/test_queries.py::TestPages::test_new_records_stand_on_the_last_page_and_are_counted_on_each",
    ),
    Mutant(
        "an older state beside a newer one",
        "A web request shows no record older than it showed it before (§5)",
        "flask_dualstorage/policy/newest.py",
        "    if not later:\n",
        "    if later:\n",
        f"{_PAGES}::test_a_web_request_shows_no_record_older_than_it_showed_it_before",
    ),
]

_CONFLICTS = "tests/integration/test_conflicts.py"
_DECIDING = "tests/integration/test_deciding.py"

CONFLICTS = [
    Mutant(
        "theirs not merged",
        "Fields that only one side changed combine (§4.8)",
        "flask_dualstorage/policy/merging.py",
        "        if same(base, mine):\n            return theirs\n",
        "        if same(base, mine):\n            return mine\n",
        f"{_CONFLICTS}::TestMerge::test_another_field_each_is_combined_within_the_call",
    ),
    Mutant(
        "a clash decided silently",
        "The same field on both sides is a conflict for the owner (§4.8)",
        "flask_dualstorage/policy/merging.py",
        '        if policy != "client":\n            self.clashes.append(clash)\n',
        "",
        f"{_CONFLICTS}::TestMerge::test_the_same_field_on_both_sides_is_the_owners",
    ),
    Mutant(
        "merging for ever",
        "A record that changes all the time is its owner's after a while (§4.8)",
        "flask_dualstorage/policy/conflicts.py",
        "    if merges_of(write) >= MOST_MERGES:\n",
        "    if merges_of(write) > 100:\n",
        f"{_CONFLICTS}::TestMerge::test_a_busy_record_is_its_owners_after_a_while",
    ),
    Mutant(
        "the same refused request again",
        "Only what the upstream changed is combined and sent again (§4.8)",
        "flask_dualstorage/policy/conflicts.py",
        "    if known and validator == write.validator and verdict.kind is write.kind:\n",
        "    if known and validator == write.validator and verdict.kind is None:\n",
        f"{_CONFLICTS}::TestAnswers::test_a_refusal_of_what_did_not_change_is_not_sent_again",
    ),
    Mutant(
        "given up and forgotten",
        "Nothing disappears silently: what the server's version replaced is in the history (§3.4)",
        "flask_dualstorage/policy/merging.py",
        "            self.given_up.append(clash)\n",
        "",
        f"{_CONFLICTS}::TestPolicies::test_what_server_gives_up_of_a_larger_edit_is_in_the_history",
    ),
    Mutant(
        "written unread",
        "Without versions the record is compared before it is written, where that is declared (§4.8)",
        "flask_dualstorage/sync/understanding.py",
        "    if not declared.read_before_write or write.kind is Kind.CREATE or write.base is None:\n",
        "    if declared.read_before_write or write.kind is Kind.CREATE or write.base is None:\n",
        f"{_CONFLICTS}::TestReadBeforeWrite::test_the_record_is_read_and_then_written",
    ),
    Mutant(
        "a clash left out of a decision",
        "Nothing that either typed is lost without a decision (§4.8)",
        "flask_dualstorage/sync/deciding.py",
        "    if decided != MINE and undecided:\n",
        "    if decided == MINE and undecided:\n",
        f"{_DECIDING}::TestResolve::test_every_field_that_clashes_must_be_named",
    ),
    Mutant(
        "decided over what was not seen",
        "What was checked is what is decided over (§4.4)",
        "flask_dualstorage/sync/deciding.py",
        "    if _pending(change, seen.id) != seen:\n",
        "    if _pending(change, seen.id).id != seen.id:\n",
        f"{_DECIDING}::TestAll::test_what_changed_while_it_was_checked_is_looked_at_again",
    ),
]

FORMS = [
    Mutant(
        "a decision over what was never shown",
        "What the page showed is what is decided over (§8)",
        "flask_dualstorage/sync/deciding.py",
        "if shown is not None and shown != mark_of(write):",
        "if shown == '':",
        "tests/integration/test_seen.py::test_a_change_between_the_look_of_the_page_and_the_decision_is_noticed",
    ),
    Mutant(
        "conflicts overwritten in bulk",
        "Nothing disappears silently (§3.4): a conflict is its owner's to decide, one by one (§8)",
        "flask_dualstorage/web/pages.py",
        "        if write_id in held:\n",
        "        if write_id not in held and write_id in held:\n",
        f"{_PENDING_PAGE}::TestSeveral::test_what_needs_a_decision_is_not_sent_again_with_the_others",
    ),
    Mutant(
        "wrong input forgotten",
        "A form that can not be taken comes back as it was filled in (§8)",
        "flask_dualstorage/web/pages.py",
        """    sent = request.form if request.method == "POST" else None\n""",
        """    sent = request.form if request.method == "PUT" else None\n""",
        f"{_PENDING_PAGE}::TestEdit::test_wrong_input_comes_back_as_it_was",
    ),
    Mutant(
        "one's own change told as another's",
        "Foresight tells of other owners' writes, and of nothing else (§3.5)",
        "flask_dualstorage/storage/outbox.py",
        """    .where(_write.c.owner != bindparam("but"))\n""",
        """    .where(_write.c.owner != bindparam("but") + "x")\n""",
        "tests/integration/test_foresight.py::TestIsTold::test_while_anothers_change_of_the_record_waits",
    ),
    Mutant(
        "foresight unasked",
        "Owners are sealed off, unless a collection wants it otherwise (§3.5)",
        "flask_dualstorage/model.py",
        "        if not declared.foresight or self.id is None:\n",
        "        if self.id is None:\n",
        "tests/integration/test_foresight.py::TestIsNotTold::test_where_the_collection_does_not_want_it",
    ),
]

MUTANTS = [
    *DURABLE,
    *SENT_ONCE,
    *ANSWERS,
    *SPOKEN,
    *ORDER,
    *IDS,
    *READING,
    *OWNERS,
    *FRESHNESS,
    *PAGES,
    *CONFLICTS,
    *FORMS,
]
