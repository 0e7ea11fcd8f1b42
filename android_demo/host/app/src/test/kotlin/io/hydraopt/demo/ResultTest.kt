package io.hydraopt.demo

import io.hydraopt.Output
import io.hydraopt.Picture
import io.hydraopt.TaskSession
import java.io.IOException
import kotlin.math.exp
import kotlin.math.sqrt
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Test

/** What encoders and image models give, with real bundles on the plain JVM. */
class ResultTest : PresenterCase() {
    private fun <T> session(bundle: String, task: String, use: (TaskSession) -> T): T =
        TaskSession.open(Fixtures.bundle(bundle)).use {
            it.switchTo(task)
            use(it)
        }

    private fun softmax(logits: FloatArray): List<Double> {
        val sum = logits.sumOf { exp(it.toDouble()) }
        return logits.map { exp(it.toDouble()) / sum }
    }

    /** The probabilities of the library's logits, and the likeliest class first. */
    private fun assertClasses(logits: Output, count: Int) {
        val labels = (state.result as Result.Classes).labels
        assertEquals(count, labels.size)
        val expected = softmax(logits.values)
        for (label in labels) assertEquals(expected[label.number], label.probability, 1e-6)
        assertEquals(labels.sortedByDescending { it.probability }, labels)
        assertEquals(1.0, labels.sumOf { it.probability }, 1e-9)
    }

    @Test
    fun aTextGetsTheProbabilitiesOfTheTasksClasses() {
        opened("classifiers")
        assertEquals(Form.TEXT, state.form)
        for ((task, count) in listOf("topic" to 5, "mood" to 2)) {
            ask(task, "Ada met Grace")
            assertClasses(session("classifiers", task) { it.run("Ada met Grace") }, count)
        }
        pick("tone")
        assertNull("of the task before", state.result)
    }

    @Test
    fun everyTokenOfATextGetsAClass() {
        opened("taggers")
        ask("names", "Ada met")
        val found = (state.result as Result.Tokens).tokens
        session("taggers", "names") { session ->
            val output = session.run("Ada met")
            val ids = session.encode("Ada met")
            val rows = ids.indices.filter { session.decode(intArrayOf(ids[it])).isNotBlank() }
            assertEquals(rows.map { session.decode(intArrayOf(ids[it])) }, found.map { it.first })
            for ((index, row) in rows.withIndex()) {
                val expected = softmax(output.row(row))
                val (number, probability) = found[index].second
                assertEquals(expected.indexOf(expected.maxOrNull()), number)
                assertEquals(expected[number], probability, 1e-6)
            }
        }
        assertTrue("$found", found.size > 3)
    }

    @Test
    fun anEmbeddingIsComparedWithTheOneBefore() {
        opened("encoder")
        ask("alpha", "Ada")
        val first = state.result as Result.Embedding
        assertNull(first.similarity)
        send("Grace")
        val second = state.result as Result.Embedding
        val (one, other) = session("encoder", "alpha") { listOf(it.run("Ada"), it.run("Grace")) }
            .map { it.values.map(Float::toDouble) }
        val length = { x: List<Double> -> sqrt(x.sumOf { it * it }) }
        assertEquals(one.size, first.size)
        assertEquals(length(one), first.length, 1e-6)
        val cosine = one.indices.sumOf { one[it] * other[it] } / (length(one) * length(other))
        assertEquals(cosine, second.similarity!!, 1e-6)
    }

    @Test
    fun aTextThatIsTooLongIsTold() {
        opened("classifiers")
        ask("mood", "x".repeat(100))
        assertTold(Remedy.OTHER_PROMPT, "classifiers", "tokens, expected at most 32")
        assertNull(state.result)
    }

    /** Stripes; [read] may fail, as of an app that is gone. */
    private class Stripes(private val error: IOException? = null) : Photo {
        val picture = Picture(IntArray(40 * 30) { it / 40 * 0x080401 or (255 shl 24) }, 40, 30)

        override fun read(): Shot {
            error?.let { throw it }
            return Shot(picture, picture)
        }
    }

    @Test
    fun aPictureGetsTheProbabilitiesOfTheTasksClasses() {
        opened("sights")
        assertEquals(Form.PICTURE, state.form)
        pick("weather")
        val photo = Stripes()
        presenter.look(photo)
        await("a result") { it.work == Work.NONE }
        assertEquals(photo.picture, state.preview)
        assertClasses(session("sights", "weather") { it.run(photo.picture) }, 3)
        pick("place")
        assertNull(state.result)
        presenter.run()
        await("another result") { it.work == Work.NONE }
        assertClasses(session("sights", "place") { it.run(photo.picture) }, 12)
    }

    @Test
    fun aPictureWithoutATaskIsShown() {
        opened("viewers")
        presenter.look(Stripes())
        await("a look") { it.work == Work.NONE }
        assertTrue(state.preview != null && state.result == null)
        assertFalse(state.canRun)
        pick("alpha")
        presenter.run()
        await("a look") { it.work == Work.NONE }
        assertTrue(state.result is Result.Embedding)
    }

    @Test
    fun aPictureThatComesWhileTheBundleOpensIsSeenLater() {
        Fixtures.linked("sights", pushed)
        presenter.look(Stripes()) // as after the end of the process
        val remembered = Remembered("sights", mapOf("weather" to 1f), "", false, Talk())
        presenter.start(remembered)
        await("a result") { it.result != null && it.work == Work.NONE }
        assertEquals(3, (state.result as Result.Classes).labels.size)
    }

    @Test
    fun whatIsNoPictureIsToldAndCannotBeRun() {
        opened("sights")
        pick("weather")
        presenter.look(Stripes(IOException("it is gone")))
        await("the refusal") { it.work == Work.NONE }
        assertTold(Remedy.OTHER_PICTURE, "sights", "it is gone")
        assertFalse(state.canRun)
    }

    @Test
    fun aBundleThatTakesNoPicturesIsTold() {
        opened("recipe-vit") // whose base does not say how pictures become pixels
        pick(state.bundle!!.tasks.first())
        presenter.look(Stripes())
        await("the refusal") { it.work == Work.NONE }
        assertEquals(Remedy.OTHER_PICTURE, state.problem!!.remedy)
        assertNull(state.result)
    }

    @Test
    fun aTaskWithOneClassGivesItsNumber() {
        opened("sights")
        pick("light")
        val photo = Stripes()
        presenter.look(photo)
        await("a result") { it.work == Work.NONE }
        val expected = session("sights", "light") { it.run(photo.picture) }.values.single()
        assertEquals(Result.Score(expected.toDouble()), state.result)
    }
}
