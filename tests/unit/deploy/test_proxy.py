"""What nginx writes about a request is kept without the client's part in it."""

import pytest

from deploy.proxy import content_security_policy, without_client


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        (
            "2026/11/20 17:20:13 [error] 7#7: *1 client intended to send too large body: 9 bytes, client: 10.0.0.1, "
            'server: , request: "POST /a?patient=Mustermann HTTP/1.1", host: "Mustermann"',
            "[error] 7#7: *1 client intended to send too large body: 9 bytes",
        ),
        (
            '2026/11/20 17:20:13 [crit] 7#7: *1 open() "/Mustermann" failed (2: No such file), client: 10.0.0.1',
            '[crit] 7#7: *1 open() "..." failed (2: No such file)',
        ),
        ('2026/11/20 17:20:13 [error] 7#7: *1 invalid header: "Mustermann', '[error] 7#7: *1 invalid header: "..."'),
    ],
)
def test_a_line_says_what_happened_and_nothing_of_the_request(line: str, kept: str) -> None:
    assert without_client(line) == kept


def test_the_page_may_run_its_own_script_and_style_and_no_other() -> None:
    policy = content_security_policy("<style>a</style><script>b</script>")
    # printf a | openssl dgst -sha256 -binary | base64, and of b
    assert "style-src 'sha256-ypeBEsobvcr6wjGzmiPcTaeG7/gUfE5yuYB3ha/uSLs='" in policy
    assert "script-src 'sha256-PiPoFgA5WUoziU9lZOGxNIu9egCI1CxKy3PurtWcAJ0='" in policy
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
