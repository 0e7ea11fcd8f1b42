package io.hydraopt.tokenizer

import io.hydraopt.Bytes
import io.hydraopt.Fields
import io.hydraopt.FormatException
import io.hydraopt.JsonInput

/** Reads the member `model` of a `tokenizer.json`, most of its bytes, into arrays. */
internal class ModelReader(private val json: JsonInput) {
    private val others = LinkedHashMap<String, Any?>()
    private val left = Bytes()
    private val right = Bytes()
    private val joined = Bytes()

    val vocabulary = Vocabulary()
    val merges = Merges()

    /** Of the tokens, by id; none if they have no scores. */
    var scores = DoubleArray(0)
        private set

    /** The other members. */
    val fields: Fields

    init {
        json.members {
            when (it) {
                "vocab" -> vocabulary()
                "merges" -> json.elements(::merge)
                else -> others[it] = json.value()
            }
        }
        if (vocabulary.size == 0) throw FormatException("the model has no vocab")
        if (scores.isNotEmpty()) scores = scores.copyOf(vocabulary.size)
        fields = Fields("the model", others)
    }

    private fun vocabulary() {
        if (json.next() == '[') {
            json.elements(::scored)
        } else {
            json.names { vocabulary.add(json.text, json.int()) }
        }
    }

    /** A token and its score; its id is its place. */
    private fun scored() {
        val id = vocabulary.size
        if (id == scores.size) scores = scores.copyOf(maxOf(1024, 2 * id))
        pair("a token and a score", { token(id) }) {
            scores[id] = json.score()
        }
    }

    private fun token(id: Int) {
        json.utf8()
        vocabulary.add(json.text, id)
    }

    private fun merge() {
        if (vocabulary.size == 0) throw FormatException("merges come before vocab")
        if (json.next() == '[') pair("two tokens", { take(left) }, { take(right) }) else halves()
        joined.clear()
        joined.add(left)
        joined.add(right)
        val ids = listOf(left, right, joined).map { vocabulary.get(it.bytes, 0, it.size) }
        if (ids[2] < 0) throw FormatException("merge ${merges.size} makes no token")
        if (ids.min() < 0) throw FormatException("merge ${merges.size} is of no token")
        merges.add(ids[0], ids[1], ids[2])
    }

    private fun take(half: Bytes) {
        json.utf8()
        half.clear()
        half.add(json.text)
    }

    /** A pair as one text, with a space between. */
    private fun halves() {
        json.utf8()
        val text = json.text
        val spaces = (0 until text.size).filter { text.bytes[it] == SPACE }
        if (spaces.size != 1) none("a merge", "two tokens")
        left.clear()
        left.add(text.bytes, 0, spaces[0])
        right.clear()
        right.add(text.bytes, spaces[0] + 1, text.size)
    }

    private fun pair(expected: String, first: () -> Unit, second: () -> Unit) {
        var count = 0
        json.elements {
            if (count == 0) first() else if (count == 1) second() else none("a pair", expected)
            count++
        }
        if (count != 2) none("a pair", expected)
    }

    private fun none(what: String, expected: String): Nothing =
        throw FormatException("$what is not $expected")

    private companion object {
        const val SPACE = ' '.code.toByte()
    }
}
