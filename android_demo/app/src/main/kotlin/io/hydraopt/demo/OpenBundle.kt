package io.hydraopt.demo

import io.hydraopt.Model
import io.hydraopt.Swap
import io.hydraopt.TaskException
import io.hydraopt.TaskSession

/** What a bundle's model takes: [MESSAGES] are prompts in a chat format without conversations. */
enum class Takes { PROMPTS, MESSAGES, CONVERSATIONS, TEXTS, PICTURES }

/** Whether tasks can be mixed, or what each has of its own instead. */
enum class Mixing { ALLOWED, OWN_ROWS, OWN_HEADS, OWN_PROGRAMS }

/**
 * The bundle whose program is loaded.
 *
 * @property name of its directory.
 * @property bytes of program, packs and all other files.
 * @property takesSystem whether its conversations may have a system prompt.
 */
data class OpenBundle(
    val name: String,
    val tasks: List<String>,
    val bytes: Long,
    val takes: Takes,
    val takesSystem: Boolean,
    val mixing: Mixing
) {
    /** Whether the base can run without an adapter. */
    val hasBase: Boolean get() = mixing == Mixing.ALLOWED || mixing == Mixing.OWN_ROWS

    /** Whether tasks have weights other than 1. */
    val hasWeights: Boolean get() = mixing != Mixing.OWN_PROGRAMS

    companion object {
        /** What the screen shows of a bundle with a new session, in which no task is current yet. */
        fun of(name: String, session: TaskSession): OpenBundle {
            val bundle = session.bundle
            val model = bundle.manifest.model
            val between = (model as? Model.CausalLm)?.chat?.conversation
            return OpenBundle(
                name,
                bundle.tasks,
                bundle.bytes,
                takes(model),
                between?.system != null,
                mixing(session)
            )
        }

        private fun takes(model: Model): Takes = when (model) {
            is Model.Encoder -> Takes.TEXTS
            is Model.Image -> Takes.PICTURES
            is Model.CausalLm -> when {
                model.chat == null -> Takes.PROMPTS
                model.chat?.conversation == null -> Takes.MESSAGES
                else -> Takes.CONVERSATIONS
            }
        }

        private fun mixing(session: TaskSession): Mixing {
            val manifest = session.bundle.manifest
            return when {
                manifest.swap !is Swap.Inputs -> Mixing.OWN_PROGRAMS
                manifest.classes.isNotEmpty() -> Mixing.OWN_HEADS
                session.tasks.size == 1 || mixes(session) -> Mixing.ALLOWED
                else -> Mixing.OWN_ROWS
            }
        }

        /** Manifests do not say whether tasks share all rows: two are mixed, in milliseconds. */
        private fun mixes(session: TaskSession): Boolean = try {
            session.switchTo(session.tasks.take(2).associateWith { 1f })
            true
        } catch (_: TaskException) {
            false
        }
    }
}
