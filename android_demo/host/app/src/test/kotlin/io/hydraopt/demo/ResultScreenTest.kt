package io.hydraopt.demo

import android.content.Intent
import android.graphics.Bitmap
import android.graphics.Color
import android.graphics.drawable.BitmapDrawable
import android.view.ViewGroup
import android.widget.ImageView
import java.io.File
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder

/** Texts and pictures are classified, as it is shown. */
class ResultScreenTest : ScreenCase() {
    @get:Rule
    val folder = TemporaryFolder()

    private val rows: List<String>
        get() = phone.view<ViewGroup>(R.id.labels).let { labels ->
            List(labels.childCount) { labels.getChildAt(it)!!.contentDescription.toString() }
        }

    private fun run(task: String, text: String) {
        phone.choose(task)
        phone.type(R.id.prompt, text)
        phone.tap(R.id.run)
        phone.await("a result") { phone.text(R.id.status) == "Done" }
    }

    @Test
    fun aTextsClassesHaveProbabilities() {
        start("classifiers")
        assertTrue(isShown(R.id.prompt))
        assertFalse(isShown(R.id.pick) || isShown(R.id.chat))
        run("topic", "Ada met Grace")
        assertEquals(5, rows.size)
        for (row in rows) assertTrue(row, Regex("Class [0-4]: [0-9.]+ %").matches(row))
        assertEquals("${rows[0]}. Done", spoken(R.id.status))
        run("mood", "Ada met Grace")
        assertEquals(2, rows.size)
        phone.change("+land")
        assertEquals(2, rows.size)
    }

    @Test
    fun everyTokenHasItsClass() {
        start("taggers")
        run("names", "Ada")
        for (row in rows) assertTrue(row, Regex("[Ada]: class [0-4]: [0-9.]+ %").matches(row))
        assertEquals("Ada", rows.joinToString("") { it.substringBefore(':') })
    }

    private fun drawn(name: String, width: Int, vararg colours: Int): File =
        folder.newFile(name).apply { stripes(this, width, *colours) }

    private fun pick(file: File?) {
        phone.tap(R.id.pick)
        answerPicker(Intent.ACTION_OPEN_DOCUMENT, file?.let(Documents::document))
        phone.awaitRest()
    }

    private val shown: Bitmap?
        get() = (phone.view<ImageView>(R.id.picture).drawable as? BitmapDrawable)?.bitmap

    @Test
    fun aPictureIsPickedShownAndClassified() {
        start("sights")
        phone.choose("place")
        assertTrue(isShown(R.id.pick))
        assertFalse(isShown(R.id.prompt) || isShown(R.id.picture) || isEnabled(R.id.run))
        pick(null)
        assertFalse("nothing was picked", isShown(R.id.picture))
        pick(drawn("flag.png", 60, Color.RED, Color.BLUE))
        assertEquals("Done", phone.text(R.id.status))
        assertEquals(11, rows.size)
        assertTrue("${rows.last()}", rows.last() == "and 2 others")
        assertEquals(listOf(60, 30), shown!!.run { listOf(width, height) })
        assertEquals("The chosen picture", spoken(R.id.picture))
        val before = rows
        phone.change("+land")
        assertTrue(isShown(R.id.picture))
        assertEquals(Color.BLUE, shown!!.getPixel(59, 0))
        assertEquals(before, rows)
        phone.choose("weather")
        phone.tap(R.id.run)
        phone.await("a result") { phone.text(R.id.status) == "Done" }
        assertEquals(3, rows.size)
    }

    @Test
    fun whatIsNoPictureIsTold() {
        start("sights")
        phone.choose("weather")
        pick(folder.newFile("text.png").apply { writeText("no picture") })
        assertTrue(phone.text(R.id.error).startsWith("This is no picture that can be read here"))
        assertTrue("${Phone.log}", Phone.log.any { "is no picture that Android can read" in it })
        assertFalse(isEnabled(R.id.run) || isShown(R.id.picture))
        pick(drawn("cut.png", 60, Color.RED).apply { writeBytes(readBytes().copyOf(40)) })
        assertTrue(isShown(R.id.error))
        pick(drawn("one.png", 60, Color.RED))
        assertFalse(isShown(R.id.error))
        assertEquals(3, rows.size)
    }
}
