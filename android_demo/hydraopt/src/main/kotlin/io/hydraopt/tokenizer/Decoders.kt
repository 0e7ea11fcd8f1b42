package io.hydraopt.tokenizer

import io.hydraopt.Utf8

/** A step from tokens to text, which keeps what a later token may change. */
internal interface Step {
    /** The pieces that [token] completes. */
    fun push(token: String): List<String>

    /** The rest after the last token. */
    fun finish(): List<String> = listOf()
}

/** A step that changes each token by itself. */
internal class EachToken(private val change: (String) -> String) : Step {
    override fun push(token: String): List<String> = listOf(change(token))
}

/** A step that changes the first token otherwise than those after it. */
internal class FirstToken(
    private val first: (String) -> String,
    private val later: (String) -> String
) : Step {
    private var isFirst = true

    override fun push(token: String): List<String> {
        val change = if (isFirst) first else later
        isFirst = false
        return listOf(change(token))
    }
}

/** Removes [most] times [char] from the start of the text. */
internal class StartStripped(private val char: Char, private var most: Int) : Step {
    override fun push(token: String): List<String> {
        val count = minOf(most, token.length - token.trimStart(char).length)
        most = if (count == token.length) most - count else 0
        return listOf(token.substring(count))
    }
}

/** Tokens of byte-level BPE to text. */
internal class BytesOfTokens : Step {
    private val text = Utf8()

    override fun push(token: String): List<String> = listOf(text.push(ByteLevel.read(token)))

    override fun finish(): List<String> = listOf(text.finish())
}

/** Tokens such as `<0xE2>` to text: a run of them as a whole, or U+FFFD for each. */
internal class ByteRuns : Step {
    private var run = ByteArray(0)

    override fun push(token: String): List<String> {
        val byte = byte(token) ?: return finish() + token
        run += byte
        return listOf()
    }

    override fun finish(): List<String> {
        if (run.isEmpty()) return listOf()
        val isText = Utf8.isValid(run, run.size)
        val text = if (isText) String(run, Charsets.UTF_8) else "\ufffd".repeat(run.size)
        run = ByteArray(0)
        return listOf(text)
    }

    private fun byte(token: String): Byte? {
        val isByte = token.length == 6 && token.startsWith("<0x") && token.endsWith('>')
        return if (isByte) token.substring(3, 5).toIntOrNull(16)?.toByte() else null
    }
}

/** English as it is written, of tokens that were joined by spaces. */
internal fun tidied(text: String): String =
    TIDIED.fold(text) { tidy, (untidy, instead) -> tidy.replace(untidy, instead) }

private val TIDIED = listOf(
    " ." to ".", " ?" to "?", " !" to "!", " ," to ",", " ' " to "'", " n't" to "n't",
    " 'm" to "'m", " do not" to " don't", " 's" to "'s", " 've" to "'ve", " 're" to "'re"
)
