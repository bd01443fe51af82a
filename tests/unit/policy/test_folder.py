import stat
from pathlib import Path
from typing import Any

from broker.policy import folder as command
from broker.policy.bundle import open_bundle
from broker.policy.keys import SigningKey
from tests.parts import require


def test_a_good_folder_has_no_findings_and_no_failures(run: Any, folder: Path) -> None:
    assert run(command.check(folder)) == []
    report = run(command.test(folder, None))
    assert (report.goldens, report.failures, report.opa_ran) == (3, (), False)


def test_findings_name_file_line_and_remedy(run: Any, folder: Path) -> None:
    with (folder / "broker" / "main" / "main.rego").open("a") as file:
        file.write("\nextra if not startswith(input.x, data.elsewhere)\n")
    (folder / "config" / "roles" / "data.yaml").write_text("oncall: {acts: []}\n")
    found = run(command.check(folder))
    assert found[0] == "config/roles/data.json.oncall.actions: is missing"
    assert [line.partition(": ")[0] for line in found[1:]] == ["broker/main/main.rego:35"] * 2
    assert all("; " in line for line in found[1:])


def test_a_folder_that_cannot_be_read_is_one_finding(run: Any, folder: Path, tmp_path: Path) -> None:
    assert len(run(command.check(tmp_path / "absent"))) == 1
    (folder / "golden" / "bases.yaml").write_text("bases: {}\n")
    (finding,) = run(command.check(folder))
    assert "known `base`" in finding
    assert "known `base`" in run(command.test(folder, None)).failures[0]


def test_a_golden_that_differs_is_a_failure_with_its_name(run: Any, folder: Path) -> None:
    path = folder / "golden" / "main.yaml"
    path.write_text(path.read_text().replace("tier: 4", "tier: 3"))
    (failure,) = run(command.test(folder, None)).failures
    assert failure.startswith("golden/main.json: a role that lacks the action may not: tier is 4, expected 3")


def test_opa_is_asked_where_it_is_at_hand(run: Any, folder: Path) -> None:
    opa = require("opa")
    assert run(command.check(folder, opa)) == []
    test = folder / "broker" / "main" / "main_test.rego"
    test.write_text("package broker.main_test\n\ntest_nothing if 1 == 2\n")
    report = run(command.test(folder, opa))
    assert report.opa_ran
    assert any("test_nothing" in line for line in report.failures)
    test.write_text("package broker.main_test\n\ntest_nothing if unbound == 2\n")
    assert any("unbound" in line for line in run(command.check(folder, opa)))


def test_a_built_bundle_is_two_files_that_verify(folder: Path, tmp_path: Path, key: SigningKey) -> None:
    out = tmp_path / "bundle.tar.gz"
    built = command.build(folder, key, "12-abc", out)
    signature = (tmp_path / "bundle.tar.gz.sig").read_text()
    assert open_bundle(out.read_bytes(), signature, {key.id: key.public}).digest == built.digest
    assert not stat.S_IMODE(out.stat().st_mode) & 0o111
