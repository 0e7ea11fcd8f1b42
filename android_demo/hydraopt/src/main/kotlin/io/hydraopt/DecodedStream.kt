package io.hydraopt

/** A stream for any tokenizer: decodes the last piece's ids with the new ones, again and again. */
internal class DecodedStream(private val tokenizer: Tokenizer) : TextStream {
    private var last = intArrayOf() // decoders treat the start of a text differently
    private var new = intArrayOf()
    private var piece = ""

    override fun push(id: Int): String {
        new += id
        piece = tokenizer.decode(last + new).drop(tokenizer.decode(last).length)
        if (piece.isEmpty() || piece.endsWith('\ufffd')) return ""
        last = new
        new = intArrayOf()
        return piece.also { piece = "" }
    }

    override fun finish(): String = piece
}
