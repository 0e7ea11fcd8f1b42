package io.hydraopt

/** What is shown of an answer that comes in pieces. */
internal class Shown(thoughts: Pair<String, String>?, stop: List<String>) {
    private val thoughts = EmptyThoughts(thoughts)
    private val stops = StopStrings(stop)

    /** Whether a stop string came, after which nothing is shown. */
    val isStopped get() = stops.isFound

    fun push(piece: String): String = stops.push(thoughts.push(piece))

    /** The rest after the last piece. */
    fun finish(piece: String): String {
        val before = push(piece)
        return before + stops.push(thoughts.finish()) + stops.finish()
    }
}

/** Holds back what may turn out to be a stop string; the first to be complete ends the text. */
internal class StopStrings(private val stop: List<String>) {
    private var held = ""
    var isFound = false
        private set

    fun push(piece: String): String {
        if (isFound) return ""
        held += piece
        // of those that are complete at the same character, the longest
        val found = stop.mapNotNull { text ->
            held.indexOf(text).takeIf { it >= 0 }?.let { Pair(it + text.length, it) }
        }.minWithOrNull(compareBy({ it.first }, { it.second }))
        val end = found?.second ?: (held.length - (stop.maxOfOrNull(::begun) ?: 0))
        isFound = found != null
        return held.substring(0, end).also { held = held.substring(end) }
    }

    fun finish(): String = if (isFound) "" else held

    /** Length of the longest end of the held text that begins [text]. */
    private fun begun(text: String): Int =
        (minOf(held.length, text.length - 1) downTo 1)
            .firstOrNull { held.endsWith(text.substring(0, it)) } ?: 0
}

/** Leaves out the thoughts that an answer begins with, if they are empty. */
internal class EmptyThoughts(private val tags: Pair<String, String>?) {
    private var held = ""
    private var isBeyond = tags == null

    fun push(piece: String): String {
        if (isBeyond) return piece
        held += piece
        val shown = beyond(held)
        isBeyond = shown.isNotEmpty()
        return shown
    }

    fun finish(): String = if (isBeyond) "" else beyond(held + END_OF_TEXT).dropLast(1)

    /** What comes after empty thoughts; empty if that is not known yet. */
    private fun beyond(text: String): String {
        var rest = text.trimStart(Characters::isPythonSpace)
        for (tag in tags!!.toList()) {
            if (!rest.startsWith(tag)) return if (tag.startsWith(rest)) "" else text
            rest = rest.substring(tag.length).trimStart(Characters::isPythonSpace)
        }
        return rest
    }

    private companion object {
        const val END_OF_TEXT = '\u0000' // neither white space nor of a tag
    }
}
