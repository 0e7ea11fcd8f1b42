package io.hydraopt.demo.benchmark

/** JSON of maps, lists, texts, numbers, truth values and null. */
internal fun json(value: Any?): String = StringBuilder().apply { json(value) }.toString()

private fun StringBuilder.json(value: Any?) {
    when (value) {
        null, is Boolean, is Int, is Long -> append(value)
        is Double -> append(if (value.isFinite()) value else error("$value is not JSON"))
        is String -> quoted(value)
        is List<*> -> joined(value, '[', ']') { json(it) }
        is Map<*, *> -> joined(value.entries, '{', '}') {
            quoted(it.key as String)
            append(": ")
            json(it.value)
        }
        else -> error("${value.javaClass} is not JSON")
    }
}

private inline fun <T> StringBuilder.joined(
    items: Collection<T>,
    start: Char,
    end: Char,
    write: (T) -> Unit
) {
    append(start)
    for ((index, item) in items.withIndex()) {
        if (index > 0) append(", ")
        write(item)
    }
    append(end)
}

private fun StringBuilder.quoted(text: String) {
    append('"')
    for (char in text) {
        when {
            char == '"' || char == '\\' -> append('\\').append(char)
            char < ' ' -> append(String.format("\\u%04x", char.code))
            else -> append(char)
        }
    }
    append('"')
}
