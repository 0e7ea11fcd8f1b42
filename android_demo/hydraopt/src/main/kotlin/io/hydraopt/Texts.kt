package io.hydraopt

/** Texts as token ids of a bundle, and back. */
internal class Texts private constructor(
    private val bundle: TaskBundle,
    private val read: Result<Tokenizer>?
) {
    private val model = bundle.manifest.model

    /** Throws [TaskException] without a tokenizer, [BundleException] for one that is not read. */
    fun tokenizer(): Tokenizer {
        val read = read ?: throw TaskException(
            "${bundle.directory} has no tokenizer; pass token ids to generateIds or forward"
        )
        return read.getOrElse { throw BundleException("${it.message}", it) }
    }

    /** Parameters and errors as of [TaskSession.encode]. */
    fun encode(text: String, chat: Boolean): IntArray {
        val before = (model as? Model.Encoder)?.prompt.orEmpty()
        if (!chat) return tokenizer().encode(before + text)
        val pieces = template().pieces(listOf(text))
        Tokenizer.checkText(text) // before its place moves
        return tokenizer().encodeTurns(pieces)
    }

    /** As [TaskSession.decode]. */
    fun decode(ids: IntArray): String = if (read == null) "" else tokenizer().decode(ids)

    /** The chat template. Throws [TaskException] without one. */
    fun template(): ChatTemplate =
        (model as? Model.CausalLm)?.chat ?: throw TaskException(
            "${bundle.directory} has no chat template, as its base model's tokenizer has none, " +
                "or none that fits, as the export said; pass the whole prompt without chat"
        )

    /** What the template writes between turns. Throws [TaskException] if it has another form. */
    fun conversation(): Conversation =
        template().conversation ?: throw TaskException(
            "the chat template of ${bundle.directory} writes conversations of another form than " +
                "texts around those of turns; generate answers to single messages with chat"
        )

    companion object {
        /** With the app's [tokenizer] or the bundle's, whose errors come later: ids need none. */
        fun of(bundle: TaskBundle, tokenizer: Tokenizer?): Texts {
            val read = tokenizer?.let { Result.success(it) }
                ?: bundle.tokenizer?.let { runCatching { Tokenizer.read(it) } }
            return Texts(bundle, read)
        }
    }
}
