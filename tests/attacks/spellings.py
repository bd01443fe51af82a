"""How somebody writes an address that the gate may not reach, by class; the classes are those of PayloadsAllTheThings' sheet
on server-side request forgery, and what resolvers and clients add to them.

``{p}`` is a port on which something listens that notices. ``answers`` is what a name could resolve to.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Class:
    """One way of writing it."""

    name: str
    urls: tuple[str, ...]
    answers: tuple[str, ...] = ("127.0.0.2",)


CLASSES: tuple[Class, ...] = (
    Class("loopback", ("http://127.0.0.1:{p}/", "http://127.0.0.2:{p}/", "http://[::1]:{p}/"), ("127.0.0.2", "::1")),
    Class("https", ("https://127.0.0.1:{p}/", "https://localhost:{p}/", "https://[::1]:{p}/")),
    Class("unspecified address", ("http://0.0.0.0:{p}/", "http://[::]:{p}/", "http://0:{p}/", "http://[0000::]:{p}/"),
          ("0.0.0.0", "::", "0.1.2.3")),
    Class("all of 127/8", ("http://127.127.127.127:{p}/", "http://127.0.1.3:{p}/", "http://127.0.0.0:{p}/"),
          ("127.127.127.127", "127.0.1.3", "127.0.0.0")),
    Class("names of this machine",
          ("http://localhost:{p}/", "http://LOCALHOST:{p}/", "http://localhost.:{p}/", "http://localhost.localdomain:{p}/",
           "http://ip6-localhost:{p}/", "http://x.localhost:{p}/")),
    Class("names that lead there",
          ("http://localtest.me:{p}/", "http://127.0.0.1.nip.io:{p}/", "http://customer1.app.localhost.my.company.127.0.0.1.nip.io:{p}/",
           "http://xn--bcher-kva.example:{p}/", "http://metadata.google.internal:{p}/")),
    Class("decimal", ("http://2130706433:{p}/", "http://3232235521:{p}/", "http://2852039166:{p}/", "http://4294967297:{p}/"),
          ("2130706433", "2852039166")),
    Class("octal", ("http://0177.0.0.1:{p}/", "http://o177.0.0.1:{p}/", "http://0o177.0.0.1:{p}/", "http://017700000001:{p}/",
                    "http://0000000177.0.0.1:{p}/", "http://127.0.0.01:{p}/"),
          ("0177.0.0.1", "017700000001", "127.0.0.01")),
    Class("hexadecimal", ("http://0x7f000001:{p}/", "http://0x7f.0x0.0x0.0x1:{p}/", "http://0X7F.1:{p}/", "http://0xa9fea9fe:{p}/"),
          ("0x7f000001", "0x7f.0.0.1")),
    Class("short forms", ("http://127.1:{p}/", "http://127.0.1:{p}/", "http://0x7f.1:{p}/", "http://10.1:{p}/"),
          ("127.1", "127.0.1")),
    Class("IPv4 in IPv6", ("http://[::ffff:127.0.0.1]:{p}/", "http://[::ffff:7f00:1]:{p}/", "http://[0:0:0:0:0:ffff:127.0.0.1]:{p}/",
                           "http://[::127.0.0.1]:{p}/", "http://[::ffff:a9fe:a9fe]:{p}/"),
          ("::ffff:127.0.0.2", "::ffff:7f00:2", "::127.0.0.2", "::ffff:169.254.169.254")),
    Class("NAT64, 6to4, Teredo", ("http://[64:ff9b::7f00:1]:{p}/", "http://[64:ff9b:1::7f00:1]:{p}/", "http://[2002:7f00:1::]:{p}/",
                                  "http://[2001:0:7f00:1::]:{p}/"),
          ("64:ff9b::7f00:2", "64:ff9b:1::a9fe:a9fe", "2002:7f00:2::", "2001:0:7f00:2::")),
    Class("zone ids", ("http://[::1%25lo]:{p}/", "http://[::1%lo]:{p}/", "http://[fe80::1%25eth0]:{p}/"), ("::1%lo", "fe80::1%lo")),
    Class("IPv6 in other spellings", ("http://[0:0:0:0:0:0:0:1]:{p}/", "http://[::0001]:{p}/", "http://[0000::1]:{p}/", "http://0000::1:{p}/",
                                      "http://[::1]]:{p}/", "http://[[::1]]:{p}/"),
          ("0:0:0:0:0:0:0:1", "::0001")),
    Class("private networks", ("http://10.0.0.1:{p}/", "http://172.16.0.1:{p}/", "http://192.168.0.1:{p}/", "http://100.64.0.1:{p}/",
                               "http://[fc00::1]:{p}/", "http://[fd12::1]:{p}/"),
          ("10.0.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "fd12::1")),
    Class("link-local", ("http://169.254.1.1:{p}/", "http://[fe80::1]:{p}/"), ("169.254.1.1", "fe80::1")),
    Class("metadata of clouds", ("http://169.254.169.254/latest/meta-data/", "http://169.254.170.2/v2/credentials/",
                                 "http://100.100.100.200/latest/meta-data/", "http://168.63.129.16/", "http://192.0.0.192/latest/",
                                 "http://[fd00:ec2::254]/latest/meta-data/"),
          ("169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254")),
    Class("multicast and reserved", ("http://224.0.0.1:{p}/", "http://255.255.255.255:{p}/", "http://240.0.0.1:{p}/", "http://[ff02::1]:{p}/"),
          ("224.0.0.1", "255.255.255.255", "240.0.0.1", "ff02::1")),
    Class("user information", ("http://user@127.0.0.1:{p}/", "http://example.com@127.0.0.1:{p}/", "http://example.com:80@127.0.0.1:{p}/",
                               "http://127.0.0.1:{p}@example.com/", "http://@127.0.0.1:{p}/")),
    Class("weak parsers", ("http://127.1.1.1:{p}\\@127.2.2.2:{p}/", "http://127.1.1.1:{p}\\@@127.2.2.2:{p}/",
                           "http://127.1.1.1:{p}:\\@@127.2.2.2:{p}/", "http://127.1.1.1:{p}#\\@127.2.2.2:{p}/",
                           "http://1.1.1.1 &@127.0.0.2:{p}# @127.0.0.1/", "http:\\\\127.0.0.1:{p}\\", "http:/127.0.0.1:{p}/", "//127.0.0.1:{p}/",
                           "http://127.0.0.1:{p}?@example.com/", "http:///127.0.0.1:{p}/", "0://evil.example:{p};http://127.0.0.1:{p}/")),
    Class("URL encoding", ("http://%6c%6f%63%61%6c%68%6f%73%74:{p}/", "http://127%2e0%2e0%2e1:{p}/", "http://127.0.0.1%00.example.com:{p}/",
                           "http://127.0.0.1%23.example.com:{p}/", "http://127.0.0.1:{p}/%2561dmin/..%2f")),
    Class("control characters", ("http://127.0.0.1:{p}\r\nHost: example.com/", "http://exam\tple.com:{p}/", "http://exa mple.com:{p}/",
                                 "http://127.0.0.1\x00.example.com:{p}/", "\nhttp://127.0.0.1:{p}/", "http://127.0.0.1\u200b:{p}/")),
    Class("enclosed and wide characters", ("http://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460:{p}/", "http://\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3:{p}/", "http://127\u30020\u30020\u30021:{p}/", "http://127\uff0e0\uff0e0\uff0e1:{p}/",
                                           "http://\uff4cocalhost:{p}/", "http://loc\u00adalhost:{p}/"),
          ("\u2460\u2461\u2466.0.0.1", "127\u30020\u30020\u30021")),
    Class("digits of other scripts", ("http://\u0e51\u0e52\u0e57.\u0e50.\u0e50.\u0e51:{p}/", "http://\u0661\u0662\u0667.\u0660.\u0660.\u0661:{p}/", "http://\uff11\uff12\uff17.0.0.1:{p}/"),
          ("\u0e51\u0e52\u0e57.\u0e50.\u0e50.\u0e51", "\uff11\uff12\uff17.0.0.1")),
    Class("dots", ("http://127.0.0.1.:{p}/", "http://127..0.0.1:{p}/", "http://.127.0.0.1:{p}/", "http://localhost..:{p}/")),
    Class("ports", ("http://localhost:+{p}aaa/", "http://localhost:000{p}/", "http://127.0.0.1:{p}aaaa/", "http://127.0.0.1:-1/",
                    "http://127.0.0.1:99999/", "http://127.0.0.1: {p}/", "http://127.0.0.1:{p}:80/", "http://127.0.0.1:0/")),
    Class("other schemes", ("file:///etc/passwd", "file://127.0.0.1:{p}/etc/passwd", "ftp://127.0.0.1:{p}/", "gopher://127.0.0.1:{p}/_GET",
                            "dict://127.0.0.1:{p}/d:w", "sftp://127.0.0.1:{p}/", "tftp://127.0.0.1:{p}/x", "ldap://127.0.0.1:{p}/",
                            "netdoc:///etc/passwd", "jar:http://127.0.0.1:{p}!/", "ws://127.0.0.1:{p}/", "unix:/run/docker.sock",
                            "data:text/plain,x", "javascript:x", "HTTP+unix://%2frun%2fdocker.sock/")),
    Class("paths that climb", ("http://allowed.example:{p}/../../admin", "http://allowed.example:{p}/%2e%2e/%2e%2e/admin", "http://allowed.example:{p}/a/..;/admin",
                               "http://allowed.example:{p}/.%2e/admin")),
    Class("shell variables", ("http://$google:{p}/", "http://evil${{IFS}}.example:{p}/", "http://127.0.0.1$x:{p}/")),
    Class("empty and odd", ("", " ", "http://", "http://:{p}/", "http://[]:{p}/", "http://[127.0.0.1]:{p}/", "http://[v1.x]:{p}/", "http://-:{p}/",
                            "http://_:{p}/", "http://*:{p}/", "?", "#", "..")),
)  # fmt: skip
