from benchmarks.prediction import page, sources
from jupyter_gpupredict.backtest.cases import folder, simulated
from jupyter_gpupredict.backtest.run import backtest
from tests.traces import write_csv


def test_the_page_has_every_part(tmp_path):
    for name, level in (("a", 50), ("b", 60)):
        write_csv(tmp_path / f"{name}.csv", [level] * 900)
    (tmp_path / "INDEX.tsv").write_text(
        "id\tgroup\tfamily\trepo\tgpu\tlicence\na\tg1\tf\to/r\tX\tMIT\nb\tg2\tf\to/s\tX\tMIT\n"
    )
    rules = ["default", "krr", "first-10pct"]
    recorded = backtest(folder(tmp_path).cases, rules, jobs=1)
    synthetic = backtest(simulated(range(1), [("group", "steady")]), rules, jobs=1)
    text = page(recorded, synthetic, 1, sources(tmp_path, recorded))
    assert "o/r; o/s" in text
    for heading in ("Mean over families", "Each group", "Each scenario", "paired", "By length"):
        assert heading in text
    assert "| first-10pct *" in text
    assert "nan" not in text
    assert str(tmp_path) not in text
