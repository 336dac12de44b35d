import subprocess
import sys


def test_refused_pattern_is_not_written_to_standard_error() -> None:
    program = (
        "from app.properties.patterns import regular_expression\n"
        "try: regular_expression('(secret')\n"
        "except ValueError: print('refused')"
    )

    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert (result.stdout, result.stderr) == ("refused\n", "")
