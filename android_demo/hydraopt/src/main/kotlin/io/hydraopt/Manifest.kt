package io.hydraopt

/** What kind of base model a bundle has. */
enum class Kind(internal val id: String) {
    /** A language model: [TaskSession.generate]. */
    CAUSAL_LM("causal_lm"),

    /** An encoder of texts. */
    ENCODER("encoder"),

    /** An image model. */
    IMAGE("image")
}

/** How a bundle's program changes from task to task. */
enum class Swap(internal val id: String) {
    /** Factors are inputs of `forward`; the method `decode` makes them of a pack. */
    INPUTS("inputs"),

    /** One method per task. */
    METHODS("methods"),

    /** A .ptd file per task is loaded with the program, which ExecuTorch's `Module` cannot do. */
    DATA("data"),

    /** One model for all tasks. */
    STATIC("static")
}

/**
 * One user turn in the base model's chat template: [prefix], message, [suffix].
 *
 * @property strip whether white space at both ends of the message is taken off.
 */
data class Chat(val prefix: String, val suffix: String, val strip: Boolean) {
    /** The prompt of one user turn, to be encoded without adding special tokens. */
    fun render(message: String): String =
        prefix + (if (strip) message.trim(::isSpace) else message) + suffix

    private fun isSpace(char: Char) = Characters.isPythonSpace(char)
}

/** Size and content hash of one file of a bundle. */
data class FileRecord(val bytes: Long, val sha256: String)

/** Where a task's pack lies, and its hash: [length] bytes from [offset] of [file]. */
data class PackRecord(val file: String, val offset: Long, val length: Long, val sha256: String)

/**
 * What a bundle holds, all but the weights.
 *
 * @property baseModel identifier of the base model.
 * @property kind of the base model; what means something for another kind only is null, or empty.
 * @property executorch version of ExecuTorch that lowered the program.
 * @property method the merging method.
 * @property adapterBytes fp16 bytes of the adapters that went in.
 * @property quantize `none` or `8da4w`, the base's linear layers.
 * @property swap how tasks are switched.
 * @property staticRows whether rows that all tasks share are layers of the program; then `decode`
 *   takes a task's payload alone, else the shared one first.
 * @property maxLength positions of the KV cache, or the most tokens of an encoder's text.
 * @property prefillLength most tokens of one call of `forward`.
 * @property vocabulary number of token ids.
 * @property eosIds tokens that end a generation.
 * @property chat the base's chat template; null if it has none that fits.
 * @property factors names of the factors in the program's order.
 * @property packs task to its pack, for [Swap.INPUTS] and [Swap.DATA].
 * @property methods task to the name of its method, for [Swap.METHODS] and [Swap.STATIC].
 * @property classes task to the number of classes of its head, if tasks have heads.
 * @property files path inside the bundle to size and hash, for every file but the manifest and
 *   those that hold packs.
 */
data class Manifest(
    val baseModel: String,
    val kind: Kind,
    val executorch: String,
    val method: String,
    val adapterBytes: Long,
    val quantize: String,
    val swap: Swap,
    val staticRows: Boolean,
    val maxLength: Int?,
    val prefillLength: Int?,
    val vocabulary: Int?,
    val eosIds: Set<Int>,
    val chat: Chat?,
    val factors: List<String>,
    val packs: Map<String, PackRecord>,
    val methods: Map<String, String>,
    val classes: Map<String, Int>,
    val files: Map<String, FileRecord>
) {
    /** Names of the tasks, in the bundle's order. */
    val tasks: List<String> get() = (packs.keys + methods.keys).toList()
}
