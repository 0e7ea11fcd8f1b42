package io.hydraopt

/**
 * What a file of a bundle must be.
 *
 * @property bytes its size.
 * @property sha256 its hash, in lower-case hexadecimal.
 */
data class FileRecord(val bytes: Long, val sha256: String)

/**
 * Where a task's pack lies, and what it must be.
 *
 * @property file path inside the bundle.
 * @property offset of the pack in the file, in bytes.
 * @property length of the pack, in bytes.
 * @property sha256 hash of the pack, in lower-case hexadecimal.
 */
data class PackRecord(val file: String, val offset: Long, val length: Long, val sha256: String)

/** The base model of a bundle, and how to call its program. */
sealed interface Model {
    /** Its name in `manifest.json`. */
    val kind: String

    /**
     * A language model: [TaskSession.generate].
     *
     * @property vocabulary number of token ids.
     * @property maxLength length of the KV cache in tokens.
     * @property prefillLength most tokens in one call of `forward`.
     * @property eosIds tokens that end a generation.
     * @property chat the base's chat template; null without a supported one.
     */
    data class CausalLm(
        val vocabulary: Int,
        val maxLength: Int,
        val prefillLength: Int,
        val eosIds: Set<Int>,
        val chat: ChatTemplate?
    ) : Model {
        override val kind get() = KIND

        internal companion object {
            const val KIND = "causal_lm"
        }
    }

    /**
     * An encoder of texts: [TaskSession.run].
     *
     * @property vocabulary number of token ids.
     * @property maxLength most tokens in a text.
     * @property prompt what comes before every text, but not before token ids.
     */
    data class Encoder(val vocabulary: Int, val maxLength: Int, val prompt: String) : Model {
        override val kind get() = KIND

        internal companion object {
            const val KIND = "encoder"
        }
    }

    /**
     * An image model: [TaskSession.run].
     *
     * @property shape channels, height and width of the input.
     * @property preprocessing how a [Picture] becomes pixel values; null if the base does not say.
     */
    data class Image(val shape: List<Int>, val preprocessing: Preprocessing?) : Model {
        override val kind get() = KIND

        internal companion object {
            const val KIND = "image"
        }
    }
}

/**
 * How a picture of any size becomes pixel values: it is resized as by Pillow, each value from 0 to
 * 255 multiplied by [factor], less [mean], and divided by [std].
 *
 * @property resample the filter: `bilinear` or `bicubic`.
 * @property factor for all channels.
 * @property mean number for each channel.
 * @property std number for each channel.
 * @property shortestEdge the shorter edge of the resized picture in pixels, whose centre is the
 *   input; null: the picture is resized to the input's height and width.
 */
data class Preprocessing(
    val resample: String,
    val factor: Double,
    val mean: List<Float>,
    val std: List<Float>,
    val shortestEdge: Int?
) {
    internal val resizing get() = if (resample == "bicubic") Resizing.BICUBIC else Resizing.BILINEAR
}

/** How a bundle's program gets a task's factors. */
sealed interface Swap {
    /** Names of the tasks, in the bundle's order. */
    val tasks: List<String>

    /**
     * Factors are inputs of `forward`; the method `unpack` computes them from a pack.
     *
     * @property packs task to its pack.
     * @property factors names of the factors in the program's order.
     * @property staticRows whether shared rows are layers of the program; if not, `unpack` takes
     *   the shared payload before the task's.
     */
    data class Inputs(
        val packs: Map<String, PackRecord>,
        val factors: List<String>,
        val staticRows: Boolean
    ) : Swap {
        override val tasks get() = packs.keys.toList()
    }

    /**
     * One method per task.
     *
     * @property methods task to the name of its method.
     */
    data class Methods(val methods: Map<String, String>) : Swap {
        override val tasks get() = methods.keys.toList()
    }

    /**
     * A .ptd file per task is loaded with the program, which ExecuTorch's `Module` cannot do.
     *
     * @property packs task to its file.
     */
    data class Data(val packs: Map<String, PackRecord>) : Swap {
        override val tasks get() = packs.keys.toList()
    }

    /** One adapter for all tasks, in the weights. */
    data class Static(override val tasks: List<String>) : Swap
}

/**
 * The content of a bundle, except for the weights.
 *
 * @property baseModel identifier of the base model.
 * @property executorch version of ExecuTorch that lowered the program.
 * @property method the merging method.
 * @property adapterBytes fp16 bytes of the original adapters.
 * @property quantize quantization scheme of the base's linear layers, such as `none` or `8da4w`.
 * @property model the base model.
 * @property swap how the program gets a task's factors.
 * @property classes task to the number of classes of its head, if tasks have heads.
 * @property files path inside the bundle to size and hash, for every file but the manifest and
 *   those that hold packs.
 * @property versions task to its version, where it is not 1.
 */
data class Manifest(
    val baseModel: String,
    val executorch: String,
    val method: String,
    val adapterBytes: Long,
    val quantize: String,
    val model: Model,
    val swap: Swap,
    val classes: Map<String, Int>,
    val files: Map<String, FileRecord>,
    val versions: Map<String, Int> = mapOf()
) {
    /** Names of the tasks, in the bundle's order. */
    val tasks: List<String> get() = swap.tasks

    /** Task to its pack or .ptd file; empty if the tasks are in the program. */
    val packs: Map<String, PackRecord>
        get() = when (swap) {
            is Swap.Inputs -> swap.packs
            is Swap.Data -> swap.packs
            is Swap.Methods, is Swap.Static -> mapOf()
        }
}
