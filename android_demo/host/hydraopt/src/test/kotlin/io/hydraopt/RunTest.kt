package io.hydraopt

import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.BeforeClass
import org.junit.Test

/** Encoders and image models give what Python's session gives. */
class RunTest {
    private fun check(
        name: String,
        compare: (String, FloatArray, FloatArray) -> Unit = ::near,
        run: TaskSession.(Fields) -> Output
    ) {
        TaskSession.open(Fixtures.file(name)).use { session ->
            for (case in Fixtures.records("$name-runs.json")) {
                session.switchTo(case.string("task"))
                val found = session.run(case)
                assertEquals(case.ints("shape"), found.shape)
                compare(name, Fixtures.floats(case, "values"), found.values)
            }
        }
    }

    private fun near(where: String, expected: FloatArray, found: FloatArray) {
        assertArrayEquals(where, expected, found, 1e-6f)
    }

    private fun checkTexts(
        name: String,
        compare: (String, FloatArray, FloatArray) -> Unit = ::near
    ) {
        check(name, compare) { run(it.string("text")) }
        check(name, compare) { run(it.ints("ids").toIntArray()) }
    }

    private fun picture(case: Fields): Picture {
        val rgb = case.ints("rgb")
        val (height, width) = case.ints("size")
        val argb = IntArray(height * width) {
            (255 shl 24) or (rgb[3 * it] shl 16) or (rgb[3 * it + 1] shl 8) or rgb[3 * it + 2]
        }
        return Picture(argb, width, height)
    }

    @Test
    fun anEncoderGivesEmbeddings() = checkTexts("encoder")

    @Test
    fun itsPromptComesBeforeEveryText() = checkTexts("prompted")

    @Test
    fun aClassifierGivesTheLogitsOfTheTasksClasses() = checkTexts("classifiers")

    @Test
    fun aTokenClassifierGivesThemForEveryToken() {
        checkTexts("taggers")
        TaskSession.open(Fixtures.file("taggers")).use { session ->
            session.switchTo("places")
            val found = session.run("Ada met Grace")
            assertEquals(listOf(session.encode("Ada met Grace").size, 3), found.shape)
            assertArrayEquals(found.values.copyOfRange(3, 6), found.row(1), 0f)
        }
    }

    @Test
    fun anImageModelTakesPictures() = check("viewers") { run(picture(it)) }

    @Test
    fun everyRecipeOfAnEncoder() {
        val names = Fixtures.recipes("encoder")
        assertEquals(3, names.size)
        for (name in names) checkTexts(name, ::assertNearlyEqual)
    }

    @Test
    fun everyRecipeOfAnImageModel() {
        val name = Fixtures.recipes("image").single()
        check(name, ::assertNearlyEqual) { run(Fixtures.floats(it, "pixels")) }
    }

    @Test
    fun picturesBecomeThePixelValuesOfPython() {
        val cases = Fixtures.records("pictures.json")
        for (case in cases) {
            val steps = Preprocessing(
                case.string("resample"),
                case.number("factor"),
                Fixtures.floats(case, "mean").toList(),
                Fixtures.floats(case, "std").toList(),
                case.intOrNull("shortest_edge")
            )
            val found = PixelValues(Model.Image(case.ints("shape"), steps)).of(picture(case))
            assertArrayEquals(Fixtures.floats(case, "values"), found, 0f)
        }
        assertTrue(cases.size > 10)
    }

    @Test
    fun wrongInputsAreOneClearLine() {
        TaskSession.open(Fixtures.file("viewers")).use { session ->
            val gray = Picture(IntArray(6) { 0xff808080.toInt() }, 3, 2)
            refuses<TaskException>("no task is current") { session.run(gray) }
            session.switchTo("alpha")
            refuses<TaskException>("is of kind image, expected encoder; pass a Picture") {
                session.run("a text")
            }
            refuses<TaskException>("has 5 pixel values, expected those of an image [3, 16, 24]") {
                session.run(FloatArray(5))
            }
        }
        refuses<TaskException>("the picture has 5 pixels, expected 3 x 2") {
            Picture(IntArray(5), 3, 2)
        }
        refuses<TaskException>("transparent pixels, expected opaque RGB") {
            Picture(IntArray(6), 3, 2)
        }
        TaskSession.open(Fixtures.file("encoder")).use { session ->
            session.switchTo("alpha")
            refuses<TaskException>("the prompt is empty") { session.run(intArrayOf()) }
            refuses<TaskException>("outside the vocabulary") { session.run(intArrayOf(9999)) }
            refuses<TaskException>("tokens, expected at most 32") { session.run("a".repeat(99)) }
            refuses<TaskException>("is of kind encoder, expected image; pass a text") {
                session.run(FloatArray(5))
            }
        }
        val long = Picture(IntArray(9000) { -1 }, 9000, 1)
        val cropped = Preprocessing("bicubic", 1.0, listOf(0f), listOf(1f), 30)
        refuses<TaskException>("has 9000 x 1 pixels, resized 270000 x 30, expected edges of at") {
            PixelValues(Model.Image(listOf(3, 16, 24), cropped)).of(long)
        }
        val longer = Picture(IntArray(20000) { -1 }, 1, 20000)
        refuses<TaskException>("has 1 x 20000 pixels, resized 24 x 16, expected edges of at") {
            PixelValues(Model.Image(listOf(3, 16, 24), cropped.copy(shortestEdge = null))).of(longer)
        }
        refuses<TaskException>("does not say how pictures become pixel values") {
            PixelValues(Model.Image(listOf(3, 16, 24), null)).of(long)
        }
    }

    @Test
    fun aManifestOfOtherPicturesIsRefused() {
        val changes = listOf(
            "\"shortest_edge\": null" to "\"shortest_edge\": 23",
            "\"shortest_edge\": null" to "\"shortest_edge\": 4097",
            "\"resample\": \"bicubic\"" to "\"resample\": \"nearest\"",
            "\"factor\": " to "\"factor\": true, \"x\": ",
            "\"mean\": \\[" to "\"mean\": [1, ",
            "\"shape\": \\[\\s*3" to "\"shape\": [1"
        )
        for ((from, to) in changes) {
            val bundle = Fixtures.copied("viewers")
            Fixtures.reseal(bundle) {
                assertTrue(from, Regex(from).containsMatchIn(it))
                it.replaceFirst(Regex(from), to)
            }
            refuses<BundleException>("manifest.json is damaged") { TaskBundle.open(bundle) }
            bundle.deleteRecursively()
        }
    }

    companion object {
        @JvmStatic
        @BeforeClass
        fun runtime() = Fixtures.loadRuntime()
    }
}
