package io.hydraopt

/** Writes JSON as hydraopt does: indented by two, with a final newline. */
internal class JsonOutput {
    private val text = StringBuilder()

    /** [value] as a document in UTF-8: maps, lists, texts, numbers, booleans and null. */
    fun document(value: Any?): ByteArray {
        write(value, "\n")
        return text.append('\n').toString().toByteArray()
    }

    private fun write(value: Any?, line: String) {
        when (value) {
            is String -> quote(value)
            is Map<*, *> -> several(value.entries, '{', '}', line) { (name, inner), below ->
                quote(name as String)
                text.append(": ")
                write(inner, below)
            }
            is List<*> -> several(value, '[', ']', line, ::write)
            else -> text.append(value)
        }
    }

    private fun <T> several(
        values: Collection<T>,
        open: Char,
        close: Char,
        line: String,
        one: (T, String) -> Unit
    ) {
        text.append(open)
        for ((index, value) in values.withIndex()) {
            if (index > 0) text.append(',')
            text.append(line).append("  ")
            one(value, "$line  ")
        }
        if (values.isNotEmpty()) text.append(line)
        text.append(close)
    }

    private fun quote(value: String) {
        text.append('"')
        for (char in value) {
            when {
                char in ESCAPES -> text.append('\\').append(ESCAPES.getValue(char))
                char < ' ' -> text.append(String.format("\\u%04x", char.code))
                else -> text.append(char)
            }
        }
        text.append('"')
    }

    private companion object {
        val ESCAPES = mapOf(
            '"' to '"', '\\' to '\\', '\n' to 'n', '\r' to 'r', '\t' to 't', '\b' to 'b',
            '\u000c' to 'f'
        )
    }
}
