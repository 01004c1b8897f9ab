"""What tests of the audit share."""

from app.data.audit import audit_dataset
from app.data.findings.scope import AuditScope
from app.settings.hyperparameters import Hyperparameters


def make_audit(tmp_path):
    """A function that audits tmp_path / "dataset". A third of the few samples may be bad."""

    def audit(dataset, max_files=None, **settings):
        hyperparameters = Hyperparameters(**{"max_bad_fraction": 0.34, **settings})
        scratch_dir = tmp_path / "scratch"
        scratch_dir.mkdir(exist_ok=True)
        root = tmp_path / "dataset"
        return audit_dataset(dataset, root, AuditScope(hyperparameters, scratch_dir, max_files))

    return audit


def found(report, kind):
    return [(f.severity, f.path.name, f.what) for f in report.findings if f.kind == kind]


def only(report, kind):
    findings = found(report, kind)
    assert len(findings) == 1, findings
    return findings[0]


def warnings_and_errors(report):
    return [finding for finding in report.findings if finding.severity != "info"]
