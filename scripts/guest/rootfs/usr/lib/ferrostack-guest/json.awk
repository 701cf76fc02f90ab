# Flattens a JSON document into lines "path<TAB>value"; names are joined by dots, array elements have numbers.
# A line break inside of a value comes out as the character 1, so that one value stays one line.
{ text = text $0 "\n" }
END {
    pos = 1
    value("")
}
function blank() {
    while (substr(text, pos, 1) ~ /[ \t\r\n]/) pos++
}
function string(    out, rest, part, c, code) {
    pos++
    out = ""
    while (pos <= length(text)) {
        rest = substr(text, pos, 512)
        if (match(rest, /^[^"\\]+/)) {
            out = out substr(rest, 1, RLENGTH)
            pos += RLENGTH
            continue
        }
        c = substr(rest, 1, 1)
        if (c == "\"") { pos++; break }
        c = substr(rest, 2, 1)
        pos += 2
        if (c == "n") out = out "\001"
        else if (c == "t") out = out "\t"
        else if (c == "r" || c == "b" || c == "f") out = out ""
        else if (c == "u") {
            code = hex(substr(text, pos, 4))
            pos += 4
            out = out (code == 10 ? "\001" : code >= 32 && code < 127 ? sprintf("%c", code) : "?")
        } else out = out c
    }
    return out
}
function hex(digits,    i, n) {
    n = 0
    for (i = 1; i <= length(digits); i++) n = n * 16 + index("0123456789abcdef", tolower(substr(digits, i, 1))) - 1
    return n
}
function value(path,    c, name, n, rest) {
    blank()
    c = substr(text, pos, 1)
    if (c == "{" || c == "[") {
        pos++
        n = 0
        while (pos <= length(text)) {
            blank()
            rest = substr(text, pos, 1)
            if (rest == "}" || rest == "]") { pos++; return }
            if (rest == ",") { pos++; continue }
            if (c == "{") {
                name = string()
                blank()
                pos++
            } else name = n++
            value(path == "" ? name : path "." name)
        }
    } else if (c == "\"") {
        printf "%s\t%s\n", path, string()
    } else if (match(substr(text, pos, 64), /^[-+.A-Za-z0-9]+/)) {
        rest = substr(text, pos, RLENGTH)
        pos += RLENGTH
        if (rest != "null") printf "%s\t%s\n", path, rest
    } else pos++
}
